"""What the stages after fetch know of the data: its arrays, its classes, the size of its images.

data/processed/{train,validation,test}/{images,labels}.npy and data/processed/dataset.json.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError

from pipeline.common.paths import DATASET, PROCESSED
from pipeline.common.shell import UserError, one_line, replacing, write_atomically

# Images, (n, side, side, 3), and their labels, uint8 (n,).
Split = tuple[np.ndarray, np.ndarray]
# So many classes are printed one by one.
LISTED_CLASSES = 20
# Images that are normalized at a time.
CHUNK = 1000


@dataclass(frozen=True)
class Dataset:
    """The classes, whose indices are the labels, and the side of the square images, in pixels."""

    # A label takes one byte.
    classes: Annotated[tuple[str, ...], Field(min_length=2, max_length=256)]
    side: Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class Pictures:
    """A data set as it was found, images in uint8, 0 to 255."""

    dataset: Dataset
    train: Split
    test: Split
    # None: to be taken from `train`.
    validation: Split | None = None


def write_dataset(dataset: Dataset) -> None:
    """Write dataset.json.

    It counts no images, so that more images to test on do not train a model anew.
    """
    write_atomically(DATASET, f"{json.dumps(asdict(dataset), indent=2)}\n".encode())


def read_dataset() -> Dataset:
    """Read dataset.json.

    Raises:
        UserError: it is missing or damaged.
    """
    try:
        return TypeAdapter(Dataset).validate_json(DATASET.read_bytes(), strict=True)
    except FileNotFoundError:
        raise missing(DATASET) from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = "".join(f"{step}: " for step in first["loc"])
        raise UserError(f"{DATASET}: {one_line(key + first['msg'])}") from None


def save(split: str, images: np.ndarray, labels: np.ndarray) -> None:
    """Write one split.

    Args:
        split: train, validation or test.
        images: uint8 (n, side, side, 3), 0 to 255; stored as float32 in [0, 1].
        labels: uint8 (n,), indices of classes; stored as they are.
    """
    # A float32 copy of all images would take four times their memory.
    parts = (images[first : first + CHUNK] for first in range(0, len(images), CHUNK))
    chunks = (np.divide(part, np.float32(255), dtype=np.float32) for part in parts)
    write_array(PROCESSED / split / "images.npy", images.shape, np.float32, chunks)
    write_array(PROCESSED / split / "labels.npy", labels.shape, np.uint8, [labels])


def write_array(path: Path, shape: tuple, dtype: type, chunks: Iterable[np.ndarray]) -> None:
    descr = np.dtype(dtype)
    header = {"descr": descr.str, "fortran_order": False, "shape": shape}
    size = math.prod(shape) * descr.itemsize
    with replacing(path, size) as unfinished, unfinished.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for chunk in chunks:
            file.write(chunk.tobytes())


def load(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Map one split into memory, read-only.

    Returns:
        images, float32 (n, side, side, 3) in [0, 1], and labels, uint8 (n,), indices of classes.

    Raises:
        UserError: a file is missing, damaged, or of another shape, type or range than dataset.json
            tells; or there is no image to train or to test on.
    """
    dataset = read_dataset()
    path = PROCESSED / split / "images.npy"
    images = read_array(path, np.float32, (dataset.side, dataset.side, 3))
    if split != "validation" and not len(images):
        raise UserError(f"{path}: no images")
    # Also false where one is not a number.
    if len(images) and not (images.min() >= 0 and images.max() <= 1):
        raise UserError(f"{path}: {images.min()} to {images.max()}; allowed is 0 to 1")
    path = PROCESSED / split / "labels.npy"
    labels = read_array(path, np.uint8, ())
    if len(images) != len(labels):
        raise UserError(f"{path}: {len(labels)} labels for {len(images)} images")
    highest = len(dataset.classes) - 1
    if labels.size and labels.max() > highest:
        raise UserError(f"{path}: label {labels.max()}; allowed are 0 to {highest}")
    return images, labels


def read_array(path: Path, dtype: type, shape: tuple[int, ...]) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise missing(path) from None
    except Exception as error:
        # NumPy's readers of headers, pickles and zip archives each raise their own.
        raise UserError(f"{path}: not a readable .npy file: {one_line(error)}") from None
    if not isinstance(array, np.ndarray):
        raise UserError(f"{path}: an archive of arrays; expected a .npy file")
    if array.dtype != dtype or array.ndim != 1 + len(shape) or array.shape[1:] != shape:
        raise UserError(
            f"{path}: {array.dtype} {array.shape}; expected {np.dtype(dtype)} {('n', *shape)}"
        )
    return array


def missing(path: Path) -> UserError:
    return UserError(f"{path}: missing; `dvc repro preprocess` makes it")
