"""CIFAR-10 in small, batch files of four images each, in every form that the stage fetch reads."""

import io
import json
import tarfile
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow
import pyarrow.parquet
from PIL import Image

RECORDS = 4
NAMES = (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin")
PIXELS = np.random.default_rng(0).integers(0, 256, (6, RECORDS, 32, 32, 3), "u1")
IMAGES = dict(zip(NAMES, PIXELS, strict=True))
LABELS = {name: [(5 * batch + 3 * i) % 10 for i in range(4)] for batch, name in enumerate(NAMES)}


# As published: each image's label, then its red, green and blue values.
VALUES = PIXELS.transpose(0, 1, 4, 2, 3).reshape(6, RECORDS, -1)
RECORDED = np.concatenate([np.array([*LABELS.values()], "u1")[..., None], VALUES], axis=-1)
BATCHES = {name: records.tobytes() for name, records in zip(NAMES, RECORDED, strict=True)}


def tar(members: Mapping[str, bytes], mode: str = "w", *others: tarfile.TarInfo) -> bytes:
    """Return a tar of files by name after other members; compressed with mode w:gz."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:  # type: ignore[call-overload]
        for other in others:
            archive.addfile(other)
        for name, content in members.items():
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


def parquet(*names: str) -> bytes:
    """Return a Parquet file of batches, a row an image, and of three rows more."""
    images = [{"bytes": png(image), "path": ""} for name in names for image in IMAGES[name]]
    labels = [label for name in names for label in LABELS[name]]
    return table(img=images + images[:3], label=labels + labels[:3])


def table(**columns: Sequence[object]) -> bytes:
    """Return a Parquet file of columns, in groups of which none is a batch."""
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), file, row_group_size=3)
    return file.getvalue()
