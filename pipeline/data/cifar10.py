"""CIFAR-10 as published: the binary version's files, their checksums and class names.

Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009;
the format is described at https://www.cs.toronto.edu/~kriz/cifar.html.
"""

import hashlib
from collections.abc import Iterable

import numpy as np

from pipeline.common.config import Cifar10
from pipeline.common.paths import RAW
from pipeline.common.shell import UserError
from pipeline.data.arrays import Dataset, Pictures, Split

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SIDE = 32
RECORDS = 10_000
RECORD_BYTES = 1 + 3 * SIDE * SIDE
BATCH_BYTES = RECORDS * RECORD_BYTES

TRAIN_BATCHES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST_BATCH = "test_batch.bin"
SHA256 = {
    "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
    "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
    "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
    "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
    "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
    "test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
}
META_FILE = "batches.meta.txt"
META = "\n".join(CLASSES) + "\n\n"


def encode(images: np.ndarray, labels: np.ndarray) -> bytes:
    """Lay images out as published records: a label byte, then the R, G and B planes.

    Args:
        images: uint8 (n, 32, 32, 3), 0 to 255.
        labels: integers (n,), 0 to 9.
    """
    planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    return np.concatenate([labels.astype(np.uint8)[:, None], planes], axis=1).tobytes()


def decode(records: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Return images, uint8 (n, 32, 32, 3) of 0 to 255, and labels, uint8 (n,) of 0 to 9."""
    table = np.frombuffer(records, np.uint8).reshape(-1, RECORD_BYTES)
    images = table[:, 1:].reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
    return images, table[:, 0]


def recognize(content: bytes) -> str | None:
    """Return the name of the published batch file with this content, or None."""
    found = hashlib.sha256(content).hexdigest()
    return next((name for name, pinned in SHA256.items() if pinned == found), None)


def read_all(params: Cifar10) -> Pictures:
    """Return the published images, of all classes or of some; see `read`.

    Raises:
        UserError: there is no such class.
    """
    classes = tuple(params.classes or CLASSES)
    if absent := set(classes) - set(CLASSES):
        raise UserError(
            f"dataset.classes: {min(absent)!r} is not in CIFAR-10; there are {', '.join(CLASSES)}"
        )
    splits = [of_classes(read(names), classes) for names in (TRAIN_BATCHES, [TEST_BATCH])]
    return Pictures(Dataset(classes, SIDE), *splits)


def of_classes(split: Split, classes: tuple[str, ...]) -> Split:
    """Return the images of some classes, labelled by the order of these."""
    images, labels = split
    label_of = {CLASSES.index(name): label for label, name in enumerate(classes)}
    chosen = np.isin(labels, [*label_of])
    return images[chosen], np.array([label_of[label] for label in labels[chosen]], np.uint8)


def read(names: Iterable[str]) -> Split:
    """Return the images and labels of batch files in data/raw, one after the other; see `decode`.

    Raises:
        UserError: a file is missing or is not the published one.
    """
    records = []
    for name in names:
        path = RAW / name
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise UserError(f"{path}: missing; `dvc repro fetch` brings it") from None
        if recognize(content) != name:
            raise UserError(
                f"{path}: {len(content)} bytes that are not the published ones (SHA-256 differs); "
                "`dvc repro --force fetch` brings it anew"
            )
        records.append(content)
    return decode(b"".join(records))
