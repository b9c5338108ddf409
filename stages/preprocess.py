"""Turns CIFAR-10's batch files, or pictures of your own, into normalized arrays.

float32 NHWC images in [0, 1] and integer labels; the validation images are the last
`validation_split` of the training images, as `fit(validation_split=...)` of Keras takes them,
unless the pictures come with some of their own.
"""

import numpy as np
import pandas as pd

from pipeline.common.params import read_params
from pipeline.common.paths import PARAMS
from pipeline.common.shell import UserError, run_stage
from pipeline.data import arrays, cifar10, folder
from pipeline.data.arrays import LISTED_CLASSES, Split


def main() -> None:
    params = read_params()
    settings = params.preprocess
    if params.dataset.name == "cifar10":
        pictures = cifar10.read_all(params.dataset)
    else:
        pictures = folder.read_all(params.dataset)
    train = first(pictures.train, settings.train_size, "train_size")
    test = first(pictures.test, settings.test_size, "test_size")
    validation = pictures.validation
    if validation is None:
        images, labels = train
        # Rounded down, as Keras does.
        kept = int(len(images) * (1 - settings.validation_split))
        if kept == 0:
            raise UserError(
                f"{PARAMS}: preprocess.validation_split = {settings.validation_split}: "
                f"leaves no image of {len(images)} to train on"
            )
        train, validation = (images[:kept], labels[:kept]), (images[kept:], labels[kept:])

    arrays.write_dataset(pictures.dataset)
    splits = {"train": train, "validation": validation, "test": test}
    for name, split in splits.items():
        arrays.save(name, *split)
    print(numbers(splits, pictures.dataset.classes))


def first(split: Split, size: int | None, key: str) -> Split:
    """Return the first `size` images, for which `key` has asked, and their labels; None: all."""
    images, labels = split
    if size and size > len(images):
        raise UserError(
            f"{PARAMS}: preprocess.{key} = {size}: there are {len(images)} images; empty means all"
        )
    return images[:size], labels[:size]


def numbers(splits: dict[str, Split], classes: tuple[str, ...]) -> str:
    """Return a table of how many images there are of each class, and of all."""
    counts = {
        name: np.bincount(labels, minlength=len(classes)) for name, (_, labels) in splits.items()
    }
    table = pd.DataFrame(counts, classes)
    few = len(classes) <= LISTED_CLASSES
    shown = table if few else table.agg(["min", "max"]).rename(lambda row: f"{row} of a class")
    total = table.sum().to_frame("all" if few else f"all {len(classes)} classes").T
    return pd.concat([shown, total]).to_string()


if __name__ == "__main__":
    run_stage(main, __doc__)
