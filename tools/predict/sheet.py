"""A contact sheet: pictures with their files' names and what the model takes them for."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path

import numpy as np
from matplotlib.font_manager import FontProperties, findfont, get_font

from stages.errors import InputError, printable
from stages.plots.pictures import grid
from stages.plots.style import save
from tools.predict.reading import attempt

COLUMNS, DPI = 6, 150
# Of a picture on the sheet: each of its pixels is one of the sheet's.
SIDE = 192
# Matplotlib draws at most 65,535 pixels in one direction.
MOST = 1200
NAME_LENGTH = 24
UNKNOWN = "\N{REPLACEMENT CHARACTER}"


@cache
def is_drawn(character: str) -> bool:
    """Say whether matplotlib's font has a character."""
    font = get_font(findfont(FontProperties()))
    return character.isprintable() and bool(font.get_char_index(ord(character)))


def title(name: str) -> str:
    """Return the first letters of a file's name, with a sign in place of what cannot be drawn."""
    return "".join(c if is_drawn(c) else UNKNOWN for c in name[:NAME_LENGTH])


def images_of(paths: Sequence[Path]) -> np.ndarray:
    """Return the middle squares of pictures, uint8 (n, SIDE, SIDE, 3).

    Raises:
        InputError: a picture cannot be read any more.
    """
    with ThreadPoolExecutor() as pool:
        readings = [*pool.map(partial(attempt, side=SIDE), paths)]
    for path, reading in zip(paths, readings, strict=True):
        if isinstance(reading, str):
            raise InputError(f"{printable(str(path))}: {reading}")
    return np.array(readings, np.uint8).reshape(-1, SIDE, SIDE, 3)


def write_sheet(
    file: Path, paths: Sequence[Path], classes: Sequence[str], probabilities: Sequence[float]
) -> None:
    """Write the contact sheet of the first pictures, as PNG.

    Args:
        file: to write.
        paths: of all pictures.
        classes: the likeliest for each picture.
        probabilities: of these, 0 to 1.
    """
    images = images_of(paths[:MOST])
    shown = len(images)
    titles = [
        f"{title(path.name)}\n{name} {share:.1%}"
        for path, name, share in zip(
            paths[:shown], classes[:shown], probabilities[:shown], strict=True
        )
    ]
    noun = "picture" if shown == 1 else "pictures"
    heading = f"{shown:,} {noun}" if shown == len(paths) else f"First {shown:,} {noun}"
    colours = ["black"] * shown
    save(grid(images, titles, colours, heading, COLUMNS, DPI), file, DPI)
