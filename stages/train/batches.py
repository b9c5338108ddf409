"""Batches of shuffled and augmented images: NumPy plans them, the device picks their pixels.

So the same plan makes the same batches on every device, and no pixel is copied to it twice.
"""

from collections.abc import Iterator, Mapping
from itertools import pairwise

import numpy as np
import tensorflow as tf

from stages.train.augmentation import Augmentation, Plan
from stages.train.randomness import stream


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
        """Take images, float32 (n, side, side, 3) in [0, 1], and labels (n,) to the device."""
        # By itself, a tensor made of an array keeps a second copy of it.
        self.images = tf.identity(tf.convert_to_tensor(images))
        # A GPU gathers no uint8.
        self.labels = tf.convert_to_tensor(labels.astype(np.int64))
        self.batch_size = batch_size
        self.augmentation = augmentation
        self.seed = seed

    def __len__(self) -> int:
        """Return the number of batches in an epoch; the last one may be smaller."""
        return -(-len(self.labels) // self.batch_size)

    def plan(self, epoch: int) -> Plan:
        """Return the plan of an epoch."""
        images, side = self.images.shape[:2]
        order = stream(self.seed, "order", epoch).permutation(images)
        return self.augmentation.plan(order, images, side, self.batch_size, self.seed, epoch)

    def in_order(self) -> Plan:
        """Return the plan of all images as they are."""
        return {"index": np.arange(len(self.labels))}

    def chunks(self, plan: Plan, steps: int) -> Iterator[Plan]:
        """Yield a plan in chunks of so many batches, their number and size in front.

        The last smaller batch comes alone, so that the batches of each chunk have one size.
        """
        size, images = self.batch_size, len(plan["index"])
        whole = images // size * size
        for first, until in pairwise([*range(0, whole, size * steps), whole, images]):
            batches = max(1, (until - first) // size)
            if first < until:
                yield {
                    name: rows[first:until].reshape(batches, -1, *rows.shape[1:])
                    for name, rows in plan.items()
                }

    def pick(self, rows: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """Return a batch by its rows of a plan.

        Returns:
            images, float32 (batch, side, side, 3) in [0, 1], and labels, int64 (batch,).
        """
        images = tf.gather(self.images, rows["index"])
        if "rows" in rows:
            images = tf.gather(images, rows["rows"], axis=1, batch_dims=1)
            images = tf.gather(images, rows["columns"], axis=2, batch_dims=1)
        if "inside_rows" in rows:
            images = tf.where(square(rows["inside_rows"], rows["inside_columns"]), images, 0.0)
        if "brightness" in rows:
            images += each(rows["brightness"])
        if "contrast" in rows:
            mean = tf.reduce_mean(images, (1, 2), keepdims=True)
            images = mean + each(rows["contrast"]) * (images - mean)
        if "brightness" in rows or "contrast" in rows:
            images = tf.clip_by_value(images, 0.0, 1.0)
        if "hole_rows" in rows:
            images = tf.where(square(rows["hole_rows"], rows["hole_columns"]), 0.0, images)
        return images, tf.gather(self.labels, rows["index"])


def each(values: tf.Tensor) -> tf.Tensor:
    """Return one number for each image, float (batch,), as float32 (batch, 1, 1, 1)."""
    return tf.cast(values, tf.float32)[:, None, None, None]


def square(rows: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
    """Return which pixels are of both some rows and some columns, bool (batch, side, side, 1)."""
    return (rows[:, :, None] & columns[:, None, :])[..., None]


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
