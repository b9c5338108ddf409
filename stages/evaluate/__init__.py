"""The stage evaluate."""

from stages import device as device  # First of all, since TensorFlow reads what it sets.
