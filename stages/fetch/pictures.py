"""CIFAR-10 as PNG pictures: 10,000 images in one, an image a row, labels beside them as JSON."""

import io
import json
from collections.abc import Iterator

import numpy as np
from PIL import Image

from stages.cifar10 import CLASSES, RECORDS, SIDE, encode
from stages.errors import in_one_line
from stages.fetch.transfer import SourceError

PICTURE_SIZE = (SIDE * SIDE, RECORDS)


def decode_png(content: bytes, size: tuple[int, int], name: str) -> np.ndarray:
    """Return the pixels of an RGB picture of `size` (width, height): uint8 (height, width, 3).

    Raises:
        SourceError: it is not such a picture; the size is checked before anything is decoded.
    """
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
            if picture.size != size or picture.mode != "RGB":
                found = f"{picture.width} x {picture.height} {picture.mode}"
                raise SourceError(f"{name}: a picture of {found}, not {size[0]} x {size[1]} RGB")
            return np.asarray(picture)
    except SourceError:
        raise
    except Exception as error:
        # Pillow's decoders raise whatever the damage leads them to.
        raise SourceError(f"{name}: not a readable PNG: {in_one_line(error)}") from None


def check_labels(labels: object, name: str) -> np.ndarray:
    """Return labels as uint8 (n,); raise a SourceError where one is not an integer of 0 to 9."""
    array = np.asarray(labels)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise SourceError(f"{name}: labels are not a list of integers")
    if array.size and not 0 <= array.min() <= array.max() < len(CLASSES):
        raise SourceError(f"{name}: labels from {array.min()} to {array.max()}; allowed are 0 to 9")
    return array.astype(np.uint8)


def read_picture(content: bytes, name: str) -> np.ndarray:
    """Return the images of one picture: uint8 (10000, 32, 32, 3)."""
    return decode_png(content, PICTURE_SIZE, name).reshape(RECORDS, SIDE, SIDE, 3)


def read_labels(content: bytes, name: str) -> np.ndarray:
    """Return the labels of a JSON list: uint8 (n,)."""
    try:
        return check_labels(json.loads(content), name)
    except ValueError as error:
        raise SourceError(f"{name}: not a JSON list of labels: {error}") from None


def paired(pictures: dict[str, np.ndarray], labels: dict[str, np.ndarray]) -> Iterator[bytes]:
    """Return the batch files made of `pictures`, by batch, and `labels`, by train and test."""
    for name, images in sorted(pictures.items()):
        kind, number = ("test", 0) if name == "test_batch" else ("train", int(name[-1]) - 1)
        batch = labels.get(kind, np.empty(0, np.uint8))[number * RECORDS : (number + 1) * RECORDS]
        if len(batch) != RECORDS:
            raise SourceError(f"{name}.png: {len(batch)} labels for {RECORDS} images")
        yield encode(images, batch)
