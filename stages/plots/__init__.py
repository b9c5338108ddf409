"""Figures, which look as matplotlib itself has them, whatever the user's settings are."""

from stages import settings as settings  # Before matplotlib, which reads what it sets.

import matplotlib  # isort: skip

# A matplotlibrc in the project's folder is read all the same.
matplotlib.rcdefaults()
