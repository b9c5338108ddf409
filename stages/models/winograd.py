"""3 x 3 convolutions with a third of the multiplications, out of matrix products.

Winograd's minimal filtering: Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks",
2015, arXiv 1509.09308; the matrices by Toom and Cook's interpolation.
"""

from functools import cache

import numpy as np
import tensorflow as tf

KERNEL = 3
# Where the polynomials are evaluated, beside infinity. Small fractions keep the products of the
# largest tile, 7 x 7, within 2e-5 (root mean square, relative) of exact arithmetic.
POINTS = (0, 1, -1, 2 / 3, -2 / 3, 2, -2, -1 / 4)


def convolution(images: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Convolve (n, height, width, channels) by (3, 3, channels, filters), zero padded."""
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
    x = tf.reshape(tf.matmul(x, weights), (len(read_rows), len(read_columns), -1))
    x = tf.reshape(tf.matmul(write_columns[None], x), (len(read_rows), -1))
    x = tf.reshape(tf.matmul(write_rows, x), (height, width, -1, filters))
    return tf.transpose(x, (2, 0, 1, 3))


@cache
def transforms(side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the transforms along one axis of the images, float32.

    Returns:
        The matrix (points * tiles, side) from pixels to points, zero padding included; the matrix
        (side, points * tiles) from products at the points to outputs; and the one (points, 3)
        from the kernel's weights to points.
    """
    outputs = outputs_of_tile(side)
    points, tiles = outputs + KERNEL - 1, -(-side // outputs)
    finite = np.array(POINTS[: points - 1], np.float64)

    def evaluation(coefficients: int) -> np.ndarray:
        infinity = np.arange(coefficients) == coefficients - 1
        return np.vstack([finite[:, None] ** np.arange(coefficients), infinity])

    read, write = np.linalg.inv(evaluation(points)).T, evaluation(outputs).T
    reading, writing = np.zeros((points, tiles, side)), np.zeros((side, points, tiles))
    for tile in range(tiles):
        first = tile * outputs
        inside = [i for i in range(points) if 0 <= first + i - 1 < side]
        reading[:, tile, first + inside[0] - 1 : first + inside[-1]] = read[:, inside]
        written = min(outputs, side - first)
        writing[first : first + written, :, tile] = write[:written]
    return (
        reading.reshape(-1, side).astype(np.float32),
        writing.reshape(side, -1).astype(np.float32),
        evaluation(KERNEL).astype(np.float32),
    )


def outputs_of_tile(side: int) -> int:
    """Return the tile's side for which `side` pixels need the fewest products."""
    candidates = range(2, len(POINTS))
    return min(candidates, key=lambda m: (-(-side // m) * (m + KERNEL - 1), m))
