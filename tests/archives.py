"""Makes archives of the published images in each encoding that the stage fetch reads."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
from PIL import Image

from stages.cifar10 import TEST_BATCH, TRAIN_BATCHES, decode

# data_batch_4 first, as in the official archive.
SHUFFLED = [TRAIN_BATCHES[i] for i in (3, 0, 4, 2, 1)]


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    """Put a file into a tar."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def png(pixels: np.ndarray) -> bytes:
    """Encode uint8 (height, width, 3)."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()


def make_tar(raw: Path, path: Path) -> None:
    """Make the official archive, batches out of order."""
    # Uncompressed, in a tenth of the time.
    with tarfile.open(path, "w:gz", compresslevel=0) as archive:
        add(archive, "cifar-10-batches-bin/readme.html", b"<html></html>")
        for name in [TEST_BATCH, *SHUFFLED]:
            add(archive, f"cifar-10-batches-bin/{name}", (raw / name).read_bytes())


def make_pictures(raw: Path, path: Path) -> None:
    """Make the npm package's archive: pictures of an image a row, labels apart, out of order."""
    # The pictures are compressed already.
    with tarfile.open(path, "w:gz", compresslevel=0) as archive:
        add(archive, "package/package.json", b'{"name": "cifar"}')
        train_labels = []
        for name in TRAIN_BATCHES:
            train_labels += decode((raw / name).read_bytes())[1].tolist()
        add(archive, "package/train_lables.json", json.dumps(train_labels).encode())
        for name in [*SHUFFLED, TEST_BATCH]:
            images, labels = decode((raw / name).read_bytes())
            picture = np.ascontiguousarray(images).reshape(10_000, 1024, 3)
            add(archive, f"package/{Path(name).stem}.png", png(picture))
        add(archive, "package/test_lables.json", json.dumps(labels.tolist()).encode())


def make_parquet(raw: Path, path: Path, names: list[str]) -> None:
    """Make a Parquet file of some batches, a PNG of each image and its label."""
    rows, labels = [], []
    for name in names:
        images, batch_labels = decode((raw / name).read_bytes())
        rows += [{"bytes": png(image), "path": f"{i}.png"} for i, image in enumerate(images)]
        labels += batch_labels.tolist()
    table = pyarrow.table({"img": rows, "label": labels})
    pyarrow.parquet.write_table(table, path, row_group_size=7_000)
