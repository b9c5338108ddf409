"""Finds CIFAR-10's batch files in whatever archive they come.

Read are the published files, a tar of them (plain or gzip), a tar of PNG pictures and JSON labels,
and Parquet with a PNG of each image. Nothing is unpacked to disk, and no pickle is ever opened.
What is found has a batch file's size; whether it is one, the caller knows by its SHA-256.
"""

import gzip
import io
import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np
import pyarrow.parquet
from PIL import Image

from pipeline.data import cifar10
from pipeline.data.download import SourceError

# Six batch files are 184,380,000 bytes; no archive may be a bomb.
UNPACKED_LIMIT = 1 << 29


def batches(path: Path) -> Iterator[bytes]:
    """Return the content of each batch file that the file or folder at `path` may hold.

    An archive that is damaged raises what its library does; one too large or unknown, SourceError.
    """
    if path.is_dir():
        for member in sorted(path.iterdir()):
            if member.is_file() and member.stat().st_size == cifar10.BATCH_BYTES:
                yield member.read_bytes()
        return
    with path.open("rb") as file:
        head = file.peek(512)
        if head.startswith(b"PAR1"):
            yield from parquet_batches(file)
        elif head.startswith(b"\x1f\x8b"):
            content = gzip.GzipFile(fileobj=file).read(UNPACKED_LIMIT + 1)
            refuse_above_limit(len(content))
            yield from tar_batches(io.BytesIO(content))
        elif head[257:262] == b"ustar":
            yield from tar_batches(file)
        else:
            raise SourceError(f"neither tar nor Parquet; it begins with {head[:16]!r}")


def refuse_above_limit(size: int) -> None:
    if size > UNPACKED_LIMIT:
        raise SourceError(f"unpacks to more than {UNPACKED_LIMIT} bytes")


def tar_batches(stream: IO[bytes]) -> Iterator[bytes]:
    """Return the batch files in a tar: as they are, or made of pictures and labels."""
    pictures, labels = {}, {}
    with tarfile.open(fileobj=stream, mode="r:") as archive:
        for member in archive:
            name = PurePosixPath(member.name).name
            # Links could lead anywhere, and devices never end.
            file = archive.extractfile(member) if member.isreg() else None
            if file and member.size == cifar10.BATCH_BYTES:
                yield file.read()
            elif file and (match := re.fullmatch(r"(data_batch_[1-5]|test_batch)\.png", name)):
                size = (cifar10.SIDE**2, cifar10.RECORDS)  # An image a row.
                pictures[match[1]] = decode_png(file.read(), size, name)
            elif file and (match := re.fullmatch(r"(train|test)_la\w+\.json", name)):
                labels[match[1]] = np.array(json.loads(file.read()), np.uint8)
    for name, picture in sorted(pictures.items()):
        kind, number = ("test", 0) if name == "test_batch" else ("train", int(name[-1]) - 1)
        start, count = number * cifar10.RECORDS, cifar10.RECORDS
        own_labels = labels.get(kind, np.empty(0))[start : start + count]
        yield cifar10.encode(picture.reshape(count, cifar10.SIDE, cifar10.SIDE, 3), own_labels)


def parquet_batches(file: IO[bytes]) -> Iterator[bytes]:
    """Return each run of 10,000 rows as a batch file, as Hugging Face has them."""
    table = pyarrow.parquet.ParquetFile(file)
    groups = [table.metadata.row_group(index) for index in range(table.num_row_groups)]
    refuse_above_limit(sum(group.total_byte_size for group in groups))
    size = (cifar10.SIDE, cifar10.SIDE)
    # Across the groups; what is left at the end is no batch file.
    for rows in table.iter_batches(cifar10.RECORDS, columns=["img", "label"]):
        if len(rows) == cifar10.RECORDS:
            images = [decode_png(image["bytes"], size, "img") for image in rows["img"].to_pylist()]
            yield cifar10.encode(np.array(images), rows["label"].to_numpy())


def decode_png(content: bytes, size: tuple[int, int], name: str) -> np.ndarray:
    """Return an RGB picture of `size` (width, height): uint8 (height, width, 3)."""
    with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
        # Before anything is decoded.
        if (picture.size, picture.mode) != (size, "RGB"):
            found = f"{picture.width} x {picture.height} {picture.mode}"
            raise SourceError(f"{name}: a picture of {found}, not {size[0]} x {size[1]} RGB")
        return np.asarray(picture)
