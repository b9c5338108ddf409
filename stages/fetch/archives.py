"""Finds runs of 10,000 published records in whatever archive they come.

Read are the published files, a tar of them (plain or gzip), a tar of PNG pictures and JSON labels,
and Parquet. Nothing is unpacked to disk, and no pickle is ever opened.
"""

import gzip
import io
import re
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from stages.cifar10 import BATCH_BYTES, TEST_BATCH, TRAIN_BATCHES
from stages.fetch.parquet import parquet_batches
from stages.fetch.pictures import paired, read_labels, read_picture
from stages.fetch.transfer import SourceError

UNPACKED_LIMIT = 1 << 29
PICTURE = re.compile(r"(data_batch_[1-5]|test_batch)\.png")
LABELS = re.compile(r"(train|test)_la\w+\.json")
PICKLES = (*(name.removesuffix(".bin") for name in TRAIN_BATCHES), TEST_BATCH.removesuffix(".bin"))
NO_PICKLES = "its batches are pickles, which are never opened; use the binary version"


class LimitedStream(io.RawIOBase):
    """Passes on another stream, up to UNPACKED_LIMIT bytes: no archive may be a bomb."""

    def __init__(self, stream: IO[bytes] | gzip.GzipFile):
        """Read from `stream`, which stays the caller's to close."""
        self._stream = stream
        self._given = 0

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes; raise a SourceError where they are too many."""
        chunk = self._stream.read(size)
        self._given += len(chunk)
        if self._given > UNPACKED_LIMIT:
            raise SourceError(f"unpacks to more than {UNPACKED_LIMIT} bytes")
        return chunk


def batches(path: Path) -> Iterator[bytes]:
    """Return the content of each batch file that the file or folder at `path` may hold.

    Raises:
        SourceError: the archive is missing, damaged, too large, or of no known format.
    """
    if path.is_dir():
        members = sorted(path.iterdir())
        for member in members:
            if member.is_file() and member.stat().st_size == BATCH_BYTES:
                yield member.read_bytes()
        if {member.name for member in members} & {*PICKLES} and not (path / TEST_BATCH).exists():
            raise SourceError(NO_PICKLES)
        return
    try:
        with path.open("rb") as file:
            head = file.read(512)
            file.seek(0)
            if head.startswith(b"PAR1"):
                yield from parquet_batches(file)
            elif head.startswith(b"\x1f\x8b"):
                yield from tar_batches(gzip.GzipFile(fileobj=file))
            elif head[257:262] == b"ustar":
                yield from tar_batches(file)
            elif path.stat().st_size == BATCH_BYTES:
                yield file.read()
            else:
                raise SourceError(f"neither tar nor Parquet; it begins with {head[:16]!r}")
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise SourceError(f"damaged archive: {error}") from None
    except OSError as error:
        raise SourceError(f"not readable: {error.strerror or error}") from None


def tar_batches(stream: IO[bytes] | gzip.GzipFile) -> Iterator[bytes]:
    """Return the batch files in a tar: as they are, or put together from pictures and labels."""
    pictures = {}
    labels = {}
    pickles = False
    with tarfile.open(fileobj=LimitedStream(stream), mode="r|") as archive:
        for member in archive:
            name = PurePosixPath(member.name)
            pickles |= name.name in PICKLES
            file = archive.extractfile(member) if member.isreg() else None
            if file is None:
                continue
            if member.size == BATCH_BYTES:
                yield file.read()
            elif PICTURE.fullmatch(name.name):
                pictures[name.stem] = read_picture(file.read(), name.name)
            elif match := LABELS.fullmatch(name.name):
                labels[match[1]] = read_labels(file.read(), name.name)
    if pickles:
        raise SourceError(NO_PICKLES)
    yield from paired(pictures, labels)
