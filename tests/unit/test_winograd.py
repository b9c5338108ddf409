"""3 x 3 convolutions by minimal filtering, next to TensorFlow's and to convolution by hand."""

import numpy as np
import pytest

from stages import device as device  # First, since TensorFlow reads what it sets.
from stages.models.winograd import convolution, outputs_of_tile, transforms

import tensorflow as tf  # isort: skip


# Of a side: outputs of a tile, and products, tiles * (outputs + 2), that are the fewest with tiles
# of 2 to 7 outputs. For 16, four tiles of 4 need as many as three of 6, and are more exact.
TILES = [(1, 2, 4), (2, 2, 4), (3, 3, 5), (4, 4, 6), (5, 5, 7), (7, 7, 9), (8, 4, 12), (9, 5, 14)]
TILES += [(12, 6, 16), (16, 4, 24), (24, 6, 32), (32, 7, 45)]


@pytest.mark.parametrize(("side", "outputs", "products"), TILES)
def test_tiles_are_those_with_the_fewest_products(side: int, outputs: int, products: int) -> None:
    assert outputs_of_tile(side) == outputs
    to_points, to_outputs, of_weights = transforms(side)
    assert to_points.shape == (products, side)
    assert to_outputs.shape == (side, products)
    assert of_weights.shape == (outputs + 2, 3)


@pytest.mark.parametrize("side", range(1, 41))
def test_transforms_are_a_convolution_along_one_axis(side: int) -> None:
    generator = np.random.default_rng(side)
    x, weights = generator.normal(size=side), generator.normal(size=3)
    to_points, to_outputs, of_weights = transforms(side)
    points = len(of_weights)
    assert {to_points.dtype, to_outputs.dtype, of_weights.dtype} == {np.dtype(np.float32)}
    products = (to_points @ x).reshape(points, -1) * (of_weights @ weights)[:, None]
    # NumPy's convolution turns the weights around, that of a network does not.
    expected = np.convolve(x, weights[::-1])[1:-1]
    np.testing.assert_allclose(to_outputs @ products.ravel(), expected, atol=2e-5)


def test_winograd_convolution_needs_fewer_products() -> None:
    for side, direct in [(3, 9), (7, 21), (15, 45), (31, 93)]:
        to_points, to_outputs, _ = transforms(side)
        assert to_points.shape == to_outputs.shape[::-1]
        assert len(to_points) ** 2 < 0.5 * direct**2


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (4, 3), (9, 2), (5, 16), (13, 12), (32, 8)])
def test_convolution_is_tensorflows_in_float64(shape: tuple[int, int]) -> None:
    generator = np.random.default_rng(0)
    x, kernel = generator.normal(size=(2, *shape, 3)), generator.normal(size=(3, 3, 3, 5))
    expected = tf.nn.conv2d(x, kernel, 1, "SAME").numpy()
    found = convolution(tf.constant(x, tf.float32), tf.constant(kernel, tf.float32)).numpy()
    assert found.shape == expected.shape
    error = np.sqrt(np.mean((found - expected) ** 2) / np.mean(expected**2))
    assert error < 2e-5
