"""Shuffled and augmented batches, one epoch at a time."""

from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from stages.train.augmentation import Augmentation, Augmented
from stages.train.randomness import stream

Batch = tuple[np.ndarray, np.ndarray]


class Batches:
    """Every image once an epoch, in random order, as `fit(shuffle=True)` gives them."""

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        batch_size: int,
        augmentation: Augmentation,
        seed: int,
    ):
        """Take images, float32 (n, side, side, 3) in [0, 1], and labels (n,)."""
        self.images, self.labels = images, labels
        self.batch_size = batch_size
        self.augmentation = augmentation
        self.seed = seed

    def __len__(self) -> int:
        """Return the number of batches in an epoch; the last one may be smaller."""
        return -(-len(self.labels) // self.batch_size)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Yield images, float32 (batch, side, side, 3), and labels (batch,) of each batch."""
        augmented = Augmented(self.augmentation, self.images, self.seed, epoch)
        order = stream(self.seed, "order", epoch).permutation(len(self.labels))
        for start in range(0, len(order), self.batch_size):
            index = order[start : start + self.batch_size]
            yield augmented.batch(index), self.labels[index]


def shrunk(images: np.ndarray, side: int) -> np.ndarray:
    """Return images, float32 (n, size, size, 3), resized to (n, side, side, 3).

    By two products with the matrix that resizing makes of the identity, since it is linear along
    each axis: four times as fast as resizing each image.
    """
    size = images.shape[1]
    if side == size:
        return images
    identity = np.eye(size, dtype=np.float32)[..., None]
    matrix = tf.image.resize(identity, (side, size), antialias=True).numpy()[..., 0]
    rows = matrix @ images.reshape(len(images), size, -1)
    return matrix @ rows.reshape(len(images), side, size, -1)
