"""CIFAR-10 in small, batch files of four images each, in every form that the stage fetch reads."""

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from pipeline.data import cifar10

RECORDS = 4
NAMES = (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin")
PIXELS = np.random.default_rng(0).integers(0, 256, (6, RECORDS, 32, 32, 3), "u1")
IMAGES = dict(zip(NAMES, PIXELS, strict=True))
LABELS = {name: [(5 * batch + 3 * i) % 10 for i in range(4)] for batch, name in enumerate(NAMES)}


def laid_out(name: str) -> bytes:
    """Lay out a batch as published: each image's label, then its red, green and blue values."""
    records = zip(LABELS[name], IMAGES[name], strict=True)
    return b"".join(bytes([label]) + image.transpose(2, 0, 1).tobytes() for label, image in records)


BATCHES = {name: laid_out(name) for name in NAMES}


def publish(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the small batch files be the published ones."""
    monkeypatch.setattr(cifar10, "RECORDS", RECORDS)
    monkeypatch.setattr(cifar10, "BATCH_BYTES", RECORDS * 3073)
    for name, content in BATCHES.items():
        monkeypatch.setitem(cifar10.SHA256, name, hashlib.sha256(content).hexdigest())


def tar(members: Mapping[str, bytes | tarfile.TarInfo], mode: str = "w") -> bytes:
    """Return a tar of files by name, or of other members; compressed with mode w:gz."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
                continue
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def png(pixels: np.ndarray) -> bytes:
    """Encode uint8 (height, width, 3)."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def package(**changes: bytes) -> bytes:
    """Return the npm package: a picture of each batch, labels apart, all of it out of order."""
    train = [label for name in NAMES[:5] for label in LABELS[name]]
    members = {"train_lables.json": json.dumps(train).encode()}
    for name in reversed(NAMES):
        members[name.replace(".bin", ".png")] = png(IMAGES[name].reshape(RECORDS, 1024, 3))
    members["test_lables.json"] = json.dumps(LABELS["test_batch.bin"]).encode()
    members |= {name.replace("__", "."): content for name, content in changes.items()}
    return tar({f"package/{name}": content for name, content in members.items()}, "w:gz")


def parquet(*names: str, rows_a_group: int = 3) -> bytes:
    """Return a Parquet file of batches, a row an image, and of three rows more."""
    images = [{"bytes": png(image), "path": ""} for name in names for image in IMAGES[name]]
    labels = [label for name in names for label in LABELS[name]]
    return table(rows_a_group, img=images + images[:3], label=labels + labels[:3])


def table(rows_a_group: int = 3, **columns: Sequence[object]) -> bytes:
    """Return a Parquet file of columns."""
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), file, row_group_size=rows_a_group)
    return file.getvalue()
