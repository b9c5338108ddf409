"""Finds picture files."""

import os
from collections.abc import Iterator
from pathlib import Path

from PIL import Image


def files(paths: list[Path]) -> Iterator[Path]:
    """Yield each file, and in place of a folder the picture files in it and in its folders."""
    for path in paths:
        if os.path.isdir(path):
            yield from sorted(pictures_in(path))
        else:
            yield path


def pictures_in(folder: Path) -> list[Path]:
    """Return the picture files in a folder and its folders, by the formats that Pillow opens.

    Links to folders are followed, but no folder is listed twice. One that cannot be listed is
    returned itself, so that an attempt to read it says why.
    """
    extensions = Image.registered_extensions()
    found: list[Path] = []
    listed: set[str] = set()
    for place, folders, names in os.walk(
        folder, onerror=lambda error: found.append(Path(error.filename)), followlinks=True
    ):
        if os.path.realpath(place) in listed:
            folders.clear()
            continue
        listed.add(os.path.realpath(place))
        # Which of several links to a folder comes first is not for the file system to say.
        folders.sort()
        found.extend(
            Path(place, name)
            for name in names
            if extensions.get(Path(name).suffix.lower()) in Image.OPEN
            # What macOS leaves beside x.png on a disk that cannot hold all of it.
            and not name.startswith("._")
        )
    return found
