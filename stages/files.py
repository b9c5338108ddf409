"""Files appear under their final name only when they are complete, and a full disk says so."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stages.errors import InputError

FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def room_for(path: Path, size: int) -> Iterator[None]:
    """Check that `size` bytes more fit where `path` is, and explain when the body finds no room.

    The folder of `path` is there.

    Raises:
        InputError: there is no room; the message names the file and the space needed.
    """
    free = shutil.disk_usage(path.parent).free
    message = f"{path}: {size:,} bytes or more needed, {free:,} free on its disk"
    if free < size:
        raise InputError(message)
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise InputError(f"{message} at first: {error.strerror}") from None
        raise


@contextmanager
def replacing(path: Path, size: int) -> Iterator[Path]:
    """Yield a path beside `path` to write `size` bytes to, and rename what was written to `path`.

    When the body raises, `path` keeps what it held and the unfinished file is removed.

    Raises:
        InputError: there is no room for so much, or a write failed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".unfinished-{path.name}")
    try:
        with room_for(path, size):
            yield unfinished
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        os.replace(unfinished, path)
    except OSError as error:
        # A write does not name its file.
        if error.filename is None:
            raise InputError(f"{path}: {error.strerror or error}") from None
        raise
    finally:
        unfinished.unlink(missing_ok=True)


def replace(path: Path, content: bytes) -> None:
    """Let `path` hold `content`, or what it held before."""
    with replacing(path, len(content)) as unfinished:
        unfinished.write_bytes(content)
