"""Figures. Whatever the user's settings of matplotlib are, they look as matplotlib itself has them.

Python runs this before any module of this package, so before matplotlib reads its settings.
"""

import os

# A notebook names a backend that need not be installed here; figures are only written to files.
os.environ.pop("MPLBACKEND", None)
# Instead of the one in the user's home.
os.environ["MATPLOTLIBRC"] = os.devnull

import matplotlib

# A matplotlibrc in the project's folder is read all the same.
matplotlib.rcdefaults()
