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
        """Give the number of batches in an epoch; the last one may be smaller."""
        return -(-len(self.labels) // self.batch_size)

    def order(self, epoch: int) -> list[np.ndarray]:
        """Give the indices of each batch."""
        order = stream(self.seed, "order", epoch).permutation(len(self.labels))
        return [
            order[start : start + self.batch_size]
            for start in range(0, len(order), self.batch_size)
        ]

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Give images and labels of each batch."""
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
        mirrored = stream(seed, "flip").random(len(images)) < 0.5
        self.side = images.shape[1]
        margin = (translation, translation)
        self.padded = np.pad(images, ((0, 0), margin, margin, (0, 0)), "reflect")
        self.padded[mirrored] = self.padded[mirrored, :, ::-1]

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Give images and labels of each batch, cropped from the padded images."""
        generator = stream(self.seed, "translation", epoch)
        span = np.arange(self.side)
        for index in self.order(epoch):
            top, left = generator.integers(0, 2 * self.translation + 1, (2, len(index), 1))
            rows, columns = (top + span)[:, :, None], (left + span)[:, None, :]
            images = self.padded[index[:, None, None], rows, columns]
            yield images[:, :, ::-1] if epoch % 2 else images, self.labels[index]


def shrunk(images: np.ndarray, side: int) -> np.ndarray:
    """Give images, float32 (n, height, width, 3), resized to (n, side, side, 3)."""
    if side == images.shape[1]:
        return images
    return tf.image.resize(images, (side, side), antialias=True).numpy()
