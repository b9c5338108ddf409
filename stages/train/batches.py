"""Shuffled and augmented batches, one epoch at a time."""

from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from stages.train.randomness import stream

Batch = tuple[np.ndarray, np.ndarray]


class Shuffled:
    """Every image once an epoch, in random order, as `fit(shuffle=True)` gives them."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, batch_size: int, seed: int):
        """Take images, float32 (n, height, width, 3), and labels (n,)."""
        self.images, self.labels = images, labels
        self.batch_size = batch_size
        self.seed = seed

    def __len__(self) -> int:
        """Return the number of batches in an epoch; the last one may be smaller."""
        return -(-len(self.labels) // self.batch_size)

    def order(self, epoch: int) -> list[np.ndarray]:
        """Return the indices of each batch."""
        order = stream(self.seed, "order", epoch).permutation(len(self.labels))
        return [
            order[start : start + self.batch_size]
            for start in range(0, len(order), self.batch_size)
        ]

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Return images and labels of each batch."""
        for index in self.order(epoch):
            yield self.images[index], self.labels[index]


class FlippedAndTranslated(Shuffled):
    """Images mirrored every other epoch and moved by a few pixels.

    A random half is mirrored in the first epoch and each image's side changes with every epoch, so
    that two epochs show both: "alternating flip" of arXiv 2404.00498.
    """

    def __init__(
        self, images: np.ndarray, labels: np.ndarray, batch_size: int, translation: int, seed: int
    ):
        """Move by up to `translation` pixels on each axis; the border mirrors the image."""
        super().__init__(images, labels, batch_size, seed)
        self.translation = translation
        self.mirrored = stream(seed, "flip").random(len(images)) < 0.5

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Return images and labels of each batch, each picked pixel by pixel."""
        generator = stream(self.seed, "translation", epoch)
        side = self.images.shape[1]
        pixels = self.images.reshape(-1, self.images.shape[-1])
        span = np.arange(side)
        inside = np.pad(span, self.translation, "reflect")
        for index in self.order(epoch):
            top, left = generator.integers(0, 2 * self.translation + 1, (2, len(index), 1))
            rows, columns = inside[top + span], inside[left + span]
            columns = np.where(self.mirrored[index, None], side - 1 - columns, columns)
            if epoch % 2:
                columns = columns[:, ::-1]
            places = (index[:, None, None] * side + rows[:, :, None]) * side + columns[:, None, :]
            yield pixels.take(places, axis=0), self.labels[index]


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
