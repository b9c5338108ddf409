"""The normalized arrays: data/processed/{train,validation,test}/{images,labels}.npy."""

from pathlib import Path

import numpy as np

from stages.cifar10 import CLASSES, SIDE
from stages.errors import InputError, in_one_line
from stages.files import replacing

PROCESSED = Path("data/processed")


def save(split: str, images: np.ndarray, labels: np.ndarray) -> None:
    """Write one split.

    Args:
        split: train, validation or test.
        images: uint8 (n, 32, 32, 3), 0 to 255; stored as float32 in [0, 1].
        labels: uint8 (n,), 0 to 9; stored as they are.
    """
    normalized = np.divide(images, np.float32(255), dtype=np.float32)
    for name, array in (("images", normalized), ("labels", labels)):
        path = PROCESSED / split / f"{name}.npy"
        with replacing(path, array.nbytes) as unfinished, unfinished.open("wb") as file:
            np.save(file, array, allow_pickle=False)


def load(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Map one split into memory.

    Returns:
        images, float32 (n, 32, 32, 3) in [0, 1], and labels, uint8 (n,) in 0 to 9.

    Raises:
        InputError: a file is missing, damaged, or of another shape, type or range; or there is no
            image to train or to test on.
    """
    path = PROCESSED / split / "images.npy"
    images = _load(path, np.float32, (SIDE, SIDE, 3))
    if split != "validation" and not len(images):
        raise InputError(f"{path}: no images")
    # Also false where one is not a number.
    if len(images) and not (images.min() >= 0 and images.max() <= 1):
        raise InputError(f"{path}: {images.min()} to {images.max()}; allowed is 0 to 1")
    path = PROCESSED / split / "labels.npy"
    labels = _load(path, np.uint8, ())
    if len(images) != len(labels):
        raise InputError(f"{path}: {len(labels)} labels for {len(images)} images")
    if labels.size and labels.max() >= len(CLASSES):
        raise InputError(f"{path}: label {labels.max()}; allowed are 0 to {len(CLASSES) - 1}")
    return images, labels


def _load(path: Path, dtype: type, shape: tuple[int, ...]) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"{path}: missing; `dvc repro preprocess` makes it") from None
    except Exception as error:
        # NumPy's readers of headers, pickles and zip archives each raise their own.
        raise InputError(f"{path}: not a readable .npy file: {in_one_line(error)}") from None
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path}: an archive of arrays; expected a .npy file")
    if array.dtype != dtype or array.ndim != 1 + len(shape) or array.shape[1:] != shape:
        raise InputError(
            f"{path}: {array.dtype} {array.shape}; expected {np.dtype(dtype)} {('n', *shape)}"
        )
    return array
