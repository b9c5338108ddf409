"""Turns the published batch files into normalized arrays.

float32 NHWC images in [0, 1] and integer labels; the validation images are the last
`validation_split` of the training images, as `fit(validation_split=...)` of Keras takes them.
"""

from pathlib import Path

import numpy as np

from stages import arrays
from stages.cifar10 import TEST_BATCH, TRAIN_BATCHES, read_batch
from stages.errors import InputError, exit_with_message
from stages.params import read
from stages.preprocess.params import PreprocessParams

RAW = Path("data/raw")


def split_at(size: int, validation_split: float) -> int:
    """Return how many of `size` images remain for training, rounded down as Keras does."""
    return int(size * (1 - validation_split))


def main() -> None:
    params = read("preprocess", PreprocessParams)
    kept = split_at(params.train_size, params.validation_split)
    if kept == 0:
        raise InputError(
            f"params.yaml: preprocess.validation_split = {params.validation_split}: "
            f"leaves no image of {params.train_size} to train on"
        )

    batches = [read_batch(RAW / name) for name in TRAIN_BATCHES]
    images = np.concatenate([images for images, _ in batches])[: params.train_size]
    labels = np.concatenate([labels for _, labels in batches])[: params.train_size]
    test_images, test_labels = read_batch(RAW / TEST_BATCH)

    arrays.save("train", images[:kept], labels[:kept])
    arrays.save("validation", images[kept:], labels[kept:])
    arrays.save("test", test_images[: params.test_size], test_labels[: params.test_size])
    print(f"train {kept}, validation {len(images) - kept}, test {params.test_size} images")


if __name__ == "__main__":
    exit_with_message(main, __doc__)
