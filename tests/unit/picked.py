"""The batches of an epoch, as the loop picks them by its plan."""

from collections.abc import Iterator

import numpy as np

from stages import device as device  # First, since TensorFlow reads what it sets.
from stages.train.batches import Batches
from stages.train.pixels import pick

Batch = tuple[np.ndarray, np.ndarray]


def epoch_of(batches: Batches, epoch: int) -> Iterator[Batch]:
    """Yield images and labels of each batch."""
    for chunk in batches.chunks(batches.plan(epoch), steps=1):
        images, labels = pick(batches.data, {name: rows[0] for name, rows in chunk.items()})
        yield images.numpy(), labels.numpy()
