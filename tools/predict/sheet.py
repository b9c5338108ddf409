"""A contact sheet: pictures with their files' names and what the model takes them for."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from matplotlib.font_manager import FontProperties, findfont, get_font

from stages.plots.pictures import grid
from stages.plots.style import save

COLUMNS, DPI = 6, 150
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


def write_sheet(
    file: Path,
    paths: Sequence[Path],
    images: np.ndarray,
    classes: Sequence[str],
    probabilities: Sequence[float],
) -> None:
    """Write the contact sheet of as many pictures as there are images, as PNG.

    Args:
        file: to write.
        paths: of all pictures.
        images: uint8 (n, 32, 32, 3) of the first n of `paths`.
        classes: the likeliest for each picture.
        probabilities: of these, 0 to 1.
    """
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
