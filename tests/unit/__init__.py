"""Tests within this process, of milliseconds each; `make mutants` judges the program by them."""
