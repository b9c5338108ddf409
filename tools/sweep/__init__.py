"""Experiments over many values of the parameters, in parallel, on one machine or several."""
