"""How every figure looks and is written: a colour-blind safe palette, the same bytes each time."""

import io
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from stages.files import replace

# Okabe and Ito's palette, https://jfly.uni-koeln.de/color/
BLUE = "#0072B2"
ORANGE = "#E69F00"
VERMILLION = "#D55E00"
GREY = "#666666"

# A matplotlibrc in the project's folder is read all the same.
matplotlib.rcdefaults()


def save(figure: Figure, path: Path, dpi: int) -> None:
    """Write a PNG without matplotlib's version in it, which would change the bytes."""
    content = io.BytesIO()
    figure.savefig(content, dpi=dpi, format="png", metadata={"Software": None})
    replace(path, content.getvalue())
