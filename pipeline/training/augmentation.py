"""Shuffles and augments the training images: NumPy plans an epoch, the device picks the pixels.

So the same plan makes the same batches on any device, and no pixel is copied to it twice.
"""

from collections.abc import Iterator, Mapping
from itertools import pairwise

import numpy as np

from pipeline.common.config import Augmentation
from pipeline.common.randomness import stream

import tensorflow as tf

# By name, an array with a row for each image of an epoch, in the order in which they are trained.
Plan = dict[str, np.ndarray]

# Numbers of a normal distribution, of which each noisy image takes a window.
NORMALS = 1 << 20
LOWEST_QUALITY, HIGHEST_QUALITY = 30, 95


def plan_epoch(
    params: Augmentation, images: int, side: int, batch_size: int, seed: int, epoch: int
) -> Plan:
    """Draw the order of the images in an epoch, and how each is augmented.

    "alternating" flips: a random half is mirrored in the first epoch and each image's side changes
    with every epoch, so that two epochs show both (arXiv 2404.00498). Cutout blacks out a square
    whose middle may be any pixel: DeVries & Taylor, arXiv 1708.04552. Brightness and contrast
    change as with Keras's RandomBrightness and RandomContrast, but are clipped once, after both and
    the noise. Mixup takes weighted means of two images of a batch, and of their labels: Zhang et
    al., arXiv 1710.09412; each image has a share of its own, as in Keras's MixUp.

    Args:
        params: what is done.
        images: how many there are.
        side: of an image, in pixels.
        batch_size: images of a step.
        seed: of the random streams.
        epoch: from 0.

    Returns:
        `index`: which image, int64 (n,); and of the following what is needed:
        `source`: the row of the image or, `images` further on, of its JPEG copy, int64 (n,);
        `rows`, `columns`: the row and column that each pixel is taken from, int64 (n, side);
        `inside_rows`, `inside_columns`: whether these are in the image, bool (n, side);
        `brightness`: what is added to an image, float64 (n,);
        `contrast`: the factor of its distance from its mean, float64 (n,);
        `noise`: the standard deviation of its noise, float64 (n,);
        `noise_start`: the first of the `NORMALS` numbers that are its noise, int64 (n,);
        `hole_rows`, `hole_columns`: whether they cross the black square, bool (n, side);
        `share`: of an image in its mix, 0 to 1, float64 (n,);
        `partner`: the image of the same batch that makes up the rest, by its place in the batch,
        int64 (n,).
    """
    index = stream(seed, "order", epoch).permutation(images)
    plan: Plan = {"index": index}
    if params.jpeg_fraction:
        taken = stream(seed, "jpeg", epoch).random(images) < params.jpeg_fraction
        plan["source"] = index + images * taken
    if params.flip != "none" or params.translation:
        plan |= plan_moves(params, index, side, batch_size, seed, epoch)
    if params.brightness:
        drawn = stream(seed, "brightness", epoch)
        plan["brightness"] = drawn.uniform(-params.brightness, params.brightness, images)
    if params.contrast:
        drawn = stream(seed, "contrast", epoch)
        plan["contrast"] = drawn.uniform(1 - params.contrast, 1 + params.contrast, images)
    if params.noise:
        drawn = stream(seed, "noise", epoch)
        plan["noise"] = drawn.uniform(0, params.noise, images)
        plan["noise_start"] = drawn.integers(0, NORMALS, images)
    if params.cutout:
        middles = draw_pairs(stream(seed, "cutout", epoch), side, images, batch_size)
        first, span = middles - params.cutout // 2, np.arange(side)
        plan["hole_rows"], plan["hole_columns"] = (first <= span) & (span < first + params.cutout)
    if params.mixup:
        drawn = stream(seed, "mixup", epoch)
        plan["share"] = drawn.beta(params.mixup, params.mixup, images)
        partners = [drawn.permutation(size) for size in batch_sizes(images, batch_size)]
        plan["partner"] = np.concatenate(partners)
    return plan


def plan_moves(
    params: Augmentation, index: np.ndarray, side: int, batch_size: int, seed: int, epoch: int
) -> Plan:
    """Return where the pixels of images come from that are shifted and mirrored."""
    span, ways = np.arange(side), 2 * params.translation + 1
    shifts = draw_pairs(stream(seed, "translation", epoch), ways, len(index), batch_size)
    rows, columns = shifts + span - params.translation
    if params.flip != "none":
        flips = stream(seed, "flip", epoch if params.flip == "random" else 0)
        mirrored = flips.random(len(index))[index, None] < 0.5
        columns = np.where(mirrored, side - 1 - columns, columns)
    if params.flip == "alternating" and epoch % 2:
        columns = columns[:, ::-1]
    if params.padding_mode == "zeros":
        return {
            "rows": rows.clip(0, side - 1),
            "columns": columns.clip(0, side - 1),
            "inside_rows": (rows >= 0) & (rows < side),
            "inside_columns": (columns >= 0) & (columns < side),
        }
    reflected = np.pad(span, params.translation, "reflect")
    return {
        "rows": reflected[rows + params.translation],
        "columns": reflected[columns + params.translation],
    }


def draw_pairs(
    generator: np.random.Generator, below: int, images: int, batch_size: int
) -> np.ndarray:
    """Return two random integers from 0 for each image, (2, images, 1), drawn batch by batch."""
    sizes = batch_sizes(images, batch_size)
    return np.concatenate([generator.integers(0, below, (2, size, 1)) for size in sizes], axis=1)


def batch_sizes(images: int, batch_size: int) -> list[int]:
    return [min(batch_size, images - first) for first in range(0, images, batch_size)]


def in_chunks(plan: Plan, batch_size: int, steps: int) -> Iterator[Plan]:
    """Yield a plan in chunks of so many batches, their number and size in front.

    The last smaller batch comes alone, so that the batches of each chunk have one size.
    """
    images = len(plan["index"])
    whole = images // batch_size * batch_size
    for first, until in pairwise([*range(0, whole, batch_size * steps), whole, images]):
        batches = max(1, (until - first) // batch_size)
        if first < until:
            yield {
                name: rows[first:until].reshape(batches, -1, *rows.shape[1:])
                for name, rows in plan.items()
            }


def pick(
    images: tf.Tensor, labels: tf.Tensor, plan: Mapping[str, tf.Tensor]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return a batch, augmented.

    Args:
        images: all of them, float32 (n, side, side, 3) in [0, 1], JPEG copies after them where a
            plan takes some.
        labels: one-hot, float32 (n, classes).
        plan: of the images of the batch.

    Returns:
        images, float32 (batch, side, side, 3) in [0, 1], and labels, float32 (batch, classes).
    """
    batch = tf.gather(images, plan.get("source", plan["index"]))
    if "rows" in plan:
        batch = tf.gather(batch, plan["rows"], axis=1, batch_dims=1)
        batch = tf.gather(batch, plan["columns"], axis=2, batch_dims=1)
    if "inside_rows" in plan:
        batch = tf.where(crossing(plan["inside_rows"], plan["inside_columns"]), batch, 0.0)
    if "brightness" in plan:
        batch += per_image(plan["brightness"])
    if "contrast" in plan:
        mean = tf.reduce_mean(batch, (1, 2), keepdims=True)
        batch = mean + per_image(plan["contrast"]) * (batch - mean)
    if "noise" in plan:
        batch += per_image(plan["noise"]) * normals(plan["noise_start"], batch.shape[1])
    if plan.keys() & {"brightness", "contrast", "noise"}:
        batch = tf.clip_by_value(batch, 0.0, 1.0)
    if "hole_rows" in plan:
        batch = tf.where(crossing(plan["hole_rows"], plan["hole_columns"]), 0.0, batch)
    labels = tf.gather(labels, plan["index"])
    if "share" in plan:
        share, partner = tf.cast(plan["share"], tf.float32)[:, None], plan["partner"]
        labels = share * labels + (1 - share) * tf.gather(labels, partner)
        share = share[..., None, None]
        batch = share * batch + (1 - share) * tf.gather(batch, partner)
    return batch, labels


def per_image(values: tf.Tensor) -> tf.Tensor:
    return tf.cast(values, tf.float32)[:, None, None, None]


def normals(starts: tf.Tensor, side: int) -> tf.Tensor:
    """Return normally distributed numbers, float32 (batch, side, side, 3).

    Each image takes a window of the same numbers, which costs a fraction of drawing new ones.

    Args:
        starts: of the windows, 0 to NORMALS - 1, int64 (batch,).
        side: of the images, in pixels.
    """
    size = 3 * side**2
    numbers = np.random.default_rng(0).standard_normal(NORMALS + size, np.float32)
    windows = tf.gather(tf.constant(numbers), starts[:, None] + np.arange(size))
    return tf.reshape(windows, (-1, side, side, 3))


def crossing(rows: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
    """Return which pixels are of both some rows and some columns, bool (batch, side, side, 1)."""
    return (rows[:, :, None] & columns[:, None, :])[..., None]


def resized(images: np.ndarray, side: int) -> np.ndarray:
    """Return images, float32 (n, size, size, 3), at a smaller size, (n, side, side, 3).

    Resizing is linear and separable: multiplying by the matrix that it makes of the identity, along
    both axes, takes a fourth of the time.
    """
    size = images.shape[1]
    if side == size:
        return images
    identity = np.eye(size, dtype=np.float32)[..., None]
    matrix = tf.image.resize(identity, (side, size), antialias=True).numpy()[..., 0]
    rows = matrix @ images.reshape(len(images), size, -1)
    return matrix @ rows.reshape(len(images), side, size, -1)


def with_jpeg_copies(images: np.ndarray, seed: int) -> np.ndarray:
    """Return images followed by a copy of each, saved as JPEG of a random quality and read again.

    With half as many rows and columns of colours (4:2:0), which is what most programs write.

    Args:
        images: float32 (n, side, side, 3) in [0, 1].
        seed: of the random streams.

    Returns:
        float32 (2 n, side, side, 3) in [0, 1].
    """

    @tf.function(reduce_retracing=True)
    def reencoded(images: tf.Tensor, qualities: tf.Tensor) -> tf.Tensor:
        def of_one(pair: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
            return tf.image.adjust_jpeg_quality(*pair, dct_method="INTEGER_ACCURATE")

        return tf.map_fn(of_one, (images, qualities), fn_output_signature=tf.float32)

    drawn, count = stream(seed, "jpeg"), len(images)
    qualities = drawn.integers(LOWEST_QUALITY, HIGHEST_QUALITY, count, np.int32, endpoint=True)
    # A thousand at a time, which are there twice meanwhile.
    chunks = [slice(first, first + 1000) for first in range(0, count, 1000)]
    return np.concatenate([images, *(reencoded(images[c], qualities[c]) for c in chunks)])
