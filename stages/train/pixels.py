"""Picks and augments the pixels of a batch on the device, and shrinks images beforehand."""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from stages.train.augmentation import NORMALS

# Images and labels.
Pair = tuple[tf.Tensor, tf.Tensor]


def pick(data: Pair, rows: Mapping[str, tf.Tensor]) -> Pair:
    """Return a batch by its rows of a plan.

    Args:
        data: all images, float32 (n, side, side, 3) in [0, 1], their copies after them where a
            plan takes some, and labels, int64 (n,).
        rows: of the images of the batch.

    Returns:
        images, float32 (batch, side, side, 3) in [0, 1], and labels, int64 (batch,).
    """
    images = tf.gather(data[0], rows.get("source", rows["index"]))
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
    if "noise" in rows:
        images += each(rows["noise"]) * noise(rows["noise_start"], images.shape[1])
    if rows.keys() & {"brightness", "contrast", "noise"}:
        images = tf.clip_by_value(images, 0.0, 1.0)
    if "hole_rows" in rows:
        images = tf.where(square(rows["hole_rows"], rows["hole_columns"]), 0.0, images)
    return images, tf.gather(data[1], rows["index"])


def each(values: tf.Tensor) -> tf.Tensor:
    """Return one number for each image, float (batch,), as float32 (batch, 1, 1, 1)."""
    return tf.cast(values, tf.float32)[:, None, None, None]


def noise(starts: tf.Tensor, side: int) -> tf.Tensor:
    """Return normally distributed noise for each image, float32 (batch, side, side, 3).

    Each takes a window of the same numbers, which costs a fraction of drawing new ones.

    Args:
        starts: of the windows, 0 to NORMALS - 1, int64 (batch,).
        side: of the images, in pixels.
    """
    size = 3 * side**2
    numbers = np.random.default_rng(0).standard_normal(NORMALS + size, np.float32)
    windows = tf.gather(tf.constant(numbers), starts[:, None] + np.arange(size))
    return tf.reshape(windows, (-1, side, side, 3))


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
