"""The 3 x 3 convolution on a CPU, in the fastest form for its precision and size.

| precision | channels x filters | outputs and gradient for the images | gradient for the kernel |
|---|---|---|---|
| float32 | fewer than FEWEST_WEIGHTS | oneDNN's direct convolution | oneDNN's |
| float32 | more | Winograd's | Winograd's |
| bfloat16 | any | oneDNN's direct convolution | oneDNN's, small images side by side |
"""

from collections.abc import Callable
from functools import cache

import numpy as np

from pipeline.common.device import INSTRUCTION_SETS

import keras
import tensorflow as tf

# With fewer channels times filters, the transforms take longer than the products that they save.
# AVX-512, by NumPy's older or newer name, halves the products' time, not that of the transforms.
FEWEST_WEIGHTS = 5000 if {"AVX512F", "X86_V4"} & set(INSTRUCTION_SETS) else 2000

# Up to this width of the images, in pixels, oneDNN's gradient for the kernel in bfloat16 is faster
# where several are side by side, since it takes the pixels of a row 32 at a time.
SMALL = 7
ROW = 32

KERNEL = 3
# Where Winograd's polynomials are evaluated, beside infinity. Small fractions keep the products of
# the largest tile, 7 x 7, within 2e-5 (root mean square, relative) of exact arithmetic.
POINTS = (0, 1, -1, 2 / 3, -2 / 3, 2, -2, -1 / 4)

Gradients = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


class FastConv2D(keras.layers.Conv2D):
    """Keras's convolution, faster on a CPU where it is 3 x 3, zero padded, of every pixel."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Convolve (n, height, width, channels) to (n, height, width, filters)."""
        ones = {self.strides, self.dilation_rate, (self.groups, 1)} == {(1, 1)}
        if self.kernel_size != (KERNEL, KERNEL) or self.padding != "same" or not ones:
            return super().call(inputs)
        if self.compute_dtype == "bfloat16":
            convolution = direct_convolution
        elif inputs.shape[-1] * self.filters >= FEWEST_WEIGHTS:
            convolution = winograd_convolution
        else:
            return super().call(inputs)
        outputs = convolution(inputs, tf.convert_to_tensor(self.kernel))
        if self.use_bias:
            outputs += self.bias
        return self.activation(outputs)


# --- oneDNN's direct convolution, with another gradient for the kernel where that is slow ---------


@tf.custom_gradient
def direct_convolution(images: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Gradients]:
    """Convolve (n, height, width, channels) by (3, 3, channels, filters), zero padded."""

    def gradients(outputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        settings = {"out_backprop": outputs, "strides": [1, 1, 1, 1], "padding": "SAME"}
        of_images = tf.raw_ops.Conv2DBackpropInput(
            input_sizes=tf.shape(images), filter=kernel, **settings
        )
        rows = side_by_side if images.shape[2] <= SMALL else tf.identity
        settings["out_backprop"] = rows(outputs)
        return of_images, tf.raw_ops.Conv2DBackpropFilter(
            input=rows(images), filter_sizes=tf.shape(kernel), **settings
        )

    return tf.nn.conv2d(images, kernel, 1, "SAME"), gradients


def side_by_side(images: tf.Tensor) -> tf.Tensor:
    """Join several images to one that is about ROW pixels wide, a column of zeros after each.

    Args:
        images: (n, height, width, channels).

    Returns:
        (n / joined, height, joined * (width + 1), channels); images of zeros fill up the last one.
    """
    _, height, width, channels = images.shape
    joined = -(-ROW // (width + 1))
    missing = -tf.shape(images)[0] % joined
    x = tf.pad(images, ((0, missing), (0, 0), (0, 1), (0, 0)))
    x = tf.reshape(x, (-1, joined, height, width + 1, channels))
    x = tf.transpose(x, (0, 2, 1, 3, 4))
    return tf.reshape(x, (-1, height, joined * (width + 1), channels))


# --- Winograd's, with a third of the multiplications, out of matrix products ----------------------


def winograd_convolution(images: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Convolve (n, height, width, channels) by (3, 3, channels, filters), zero padded.

    Winograd's minimal filtering: Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks",
    arXiv 1509.09308; the matrices by Toom and Cook's interpolation.
    """
    _, height, width, channels = images.shape
    filters = kernel.shape[-1]
    read_rows, write_rows, row_points = transforms(height)
    read_columns, write_columns, column_points = transforms(width)
    rows, columns = len(row_points), len(column_points)

    # Images last but one, so that each transform is one product with a long matrix.
    x = tf.reshape(tf.transpose(images, (1, 2, 0, 3)), (height, -1))
    x = tf.reshape(tf.matmul(read_rows, x), (len(read_rows), width, -1))
    x = tf.matmul(read_columns[None], x)
    x = tf.reshape(x, (rows, len(read_rows) // rows, columns, -1, channels))
    weights = tf.matmul(np.kron(row_points, column_points), tf.reshape(kernel, (KERNEL**2, -1)))
    weights = tf.reshape(weights, (rows, 1, columns, channels, filters))
    x = tf.reshape(tf.matmul(x, weights), (len(read_rows), write_columns.shape[1], -1))
    x = tf.reshape(tf.matmul(write_columns[None], x), (write_rows.shape[1], -1))
    x = tf.matmul(write_rows, x)
    # Where tiles fill the image, the first output of each comes before the second of any.
    high, wide = len(write_rows), len(write_columns)
    x = tf.reshape(x, (high, height // high, wide, width // wide, -1, filters))
    return tf.reshape(tf.transpose(x, (4, 1, 0, 3, 2, 5)), (-1, height, width, filters))


@cache
def transforms(side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the transforms along one axis of the images, float32.

    Returns:
        The matrix (points * tiles, side) from pixels to points, zero padding included; the one from
        products at the points to outputs, (outputs, points) of a tile where whole tiles fill the
        side, else (side, points * tiles) with zeros between them; and the one (points, 3) from the
        kernel's weights to points.
    """
    outputs = outputs_of_tile(side)
    points, tiles = outputs + KERNEL - 1, -(-side // outputs)
    finite = np.array(POINTS[: points - 1], np.float64)

    def evaluation(coefficients: int) -> np.ndarray:
        infinity = np.arange(coefficients) == coefficients - 1
        return np.vstack([finite[:, None] ** np.arange(coefficients), infinity])

    read, write = np.linalg.inv(evaluation(points)).T, evaluation(outputs).T
    reading = np.zeros((points, tiles, side))
    for tile in range(tiles):
        first = tile * outputs
        inside = [i for i in range(points) if 0 <= first + i - 1 < side]
        reading[:, tile, first + inside[0] - 1 : first + inside[-1]] = read[:, inside]
    if side % outputs:
        of_all = np.einsum("op,st->sopt", write, np.eye(tiles))
        write = of_all.reshape(-1, points * tiles)[:side]
    return (
        reading.reshape(-1, side).astype(np.float32),
        write.astype(np.float32),
        evaluation(KERNEL).astype(np.float32),
    )


def outputs_of_tile(side: int) -> int:
    """Return the tile's side, in outputs, for which `side` pixels need the fewest products."""
    candidates = range(2, len(POINTS))
    return min(candidates, key=lambda m: (-(-side // m) * (m + KERNEL - 1), m))
