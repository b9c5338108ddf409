"""How every figure looks and is written: a colour-blind safe palette, the same bytes each time."""

from pathlib import Path

from matplotlib.figure import Figure

from stages.files import replacing

# Okabe and Ito's palette, https://jfly.uni-koeln.de/color/
BLUE = "#0072B2"
ORANGE = "#E69F00"
VERMILLION = "#D55E00"
GREY = "#666666"


def save(figure: Figure, path: Path, dpi: int) -> None:
    """Write a PNG without matplotlib's version in it, which would change the bytes."""
    with replacing(path) as unfinished:
        figure.savefig(unfinished, dpi=dpi, format="png", metadata={"Software": None})
