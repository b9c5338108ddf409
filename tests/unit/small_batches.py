"""CIFAR-10 in small: batch files of four images each, published for as long as a test runs."""

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from stages import cifar10
from tests.archives import add, png

RECORDS = 4
NAMES = (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin")
IMAGES = dict(
    zip(
        NAMES, np.random.default_rng(0).integers(0, 256, (6, RECORDS, 32, 32, 3), "u1"), strict=True
    )
)
LABELS = {name: [(5 * batch + 3 * i) % 10 for i in range(4)] for batch, name in enumerate(NAMES)}


def laid_out(images: np.ndarray, labels: list[int]) -> bytes:
    """Lay out records as published: the label, then all red, all green and all blue values."""
    records = zip(images, labels, strict=True)
    return b"".join(
        bytes([label]) + b"".join(image[:, :, channel].tobytes() for channel in range(3))
        for image, label in records
    )


BATCHES = {name: laid_out(IMAGES[name], LABELS[name]) for name in NAMES}


def publish(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the stage fetch take the small batch files for the published ones."""
    size = RECORDS * 3073
    for module, name, value in (
        ("archives", "BATCH_BYTES", size),
        ("__main__", "BATCH_BYTES", size),
        ("pictures", "RECORDS", RECORDS),
        ("pictures", "PICTURE_SIZE", (1024, RECORDS)),
        ("parquet", "RECORDS", RECORDS),
    ):
        monkeypatch.setattr(f"stages.fetch.{module}.{name}", value)
    for name, content in BATCHES.items():
        monkeypatch.setitem(cifar10.SHA256, name, hashlib.sha256(content).hexdigest())


def tar(members: Mapping[str, bytes], mode: str = "w") -> bytes:
    """Return a tar of files by name, compressed with mode w:gz."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            add(archive, name, content)
    return file.getvalue()


def package() -> bytes:
    """Return the npm package: a picture of each batch, labels apart, all of it out of order."""
    pictures = {
        f"package/{Path(name).stem}.png": png(IMAGES[name].reshape(RECORDS, 1024, 3))
        for name in reversed(NAMES)
    }
    train = [label for name in NAMES[:5] for label in LABELS[name]]
    first = {"package/package.json": b"{}", "package/train_lables.json": json.dumps(train).encode()}
    last = {"package/test_lables.json": json.dumps(LABELS["test_batch.bin"]).encode()}
    return tar(first | pictures | last, "w:gz")


def parquet(*names: str, rows_a_group: int = 3) -> bytes:
    """Return a Parquet file of batches, a row an image."""
    images = [{"bytes": png(image), "path": ""} for name in names for image in IMAGES[name]]
    labels = [label for name in names for label in LABELS[name]]
    file = io.BytesIO()
    table = pyarrow.table({"img": images, "label": labels})
    pyarrow.parquet.write_table(table, file, row_group_size=rows_a_group)
    return file.getvalue()
