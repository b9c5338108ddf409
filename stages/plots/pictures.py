"""Figures made of CIFAR-10's images, each pixel a sharp square."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from stages.cifar10 import SIDE

INCHES = 1.28
GAP = 0.24
TITLE_LINE = 0.15
HEADING = 0.42
FONT_SIZE = 8


def grid(
    images: np.ndarray,
    titles: Sequence[str],
    colours: Sequence[str],
    heading: str,
    columns: int,
    dpi: int,
) -> Figure:
    """Show images row by row, a title above each.

    Args:
        images: (n, side, side, 3), uint8, or float in [0, 1].
        titles: one for each image, of one or two lines.
        colours: of the titles.
        heading: above all.
        columns: images in a row.
        dpi: pixels per inch; an image takes the multiple of 32 pixels that is nearest to INCHES.
    """
    side = max(round(INCHES * dpi / SIDE), 1) * SIDE / dpi
    lines = max((title.count("\n") + 1 for title in titles), default=1)
    cell_width = side + GAP
    cell_height = side + 0.12 + TITLE_LINE * lines
    rows = max(-(-len(images) // columns), 1)
    width, height = columns * cell_width, rows * cell_height + HEADING
    # Whole pixels, so that no image is resampled between them.
    figure = Figure(figsize=(round(width * dpi) / dpi, round(height * dpi) / dpi))
    width, height = figure.get_size_inches()
    figure.text(0.5, 1 - 0.2 / height, heading, ha="center", va="center", fontsize=10)
    for number, (image, title, colour) in enumerate(zip(images, titles, colours, strict=True)):
        row, column = divmod(number, columns)
        left = round((column * cell_width + GAP / 2) * dpi) / dpi
        bottom = round((height - HEADING - (row + 1) * cell_height + 0.06) * dpi) / dpi
        axes = figure.add_axes((left / width, bottom / height, side / width, side / height))
        axes.imshow(image, interpolation="nearest")
        axes.set_axis_off()
        # A name with two dollar signs in it is no formula.
        axes.set_title(title, fontsize=FONT_SIZE, color=colour, pad=2, parse_math=False)
    return figure
