"""How good a model is: its class probabilities, and how often and how surely they are right."""
