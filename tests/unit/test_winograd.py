"""3 x 3 convolutions by minimal filtering, next to TensorFlow's and to convolution by hand."""

import runpy
from typing import Any

import numpy as np
import pytest

from stages import device as device  # First, since TensorFlow reads what it sets.
from stages import processors
from stages.models import winograd
from stages.models.winograd import FEWEST_WEIGHTS, WinogradConv2D, convolution, transforms

import keras  # isort: skip
import tensorflow as tf  # isort: skip


# Of a side: outputs of a tile, and products, tiles * (outputs + 2), that are the fewest with tiles
# of 2 to 7 outputs. For 16, four tiles of 4 need as many as three of 6, and are more exact.
TILES = [(1, 2, 4), (2, 2, 4), (3, 3, 5), (4, 4, 6), (5, 5, 7), (7, 7, 9), (8, 4, 12), (9, 5, 14)]
TILES += [(12, 6, 16), (16, 4, 24), (24, 6, 32), (32, 7, 45)]


@pytest.mark.parametrize(("side", "outputs", "products"), TILES)
def test_tiles_are_those_with_the_fewest_products(side: int, outputs: int, products: int) -> None:
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


@pytest.mark.parametrize("shape", [(2, 2), (3, 3), (5, 9), (7, 7), (11, 15), (23, 31), (32, 32)])
def test_winograd_convolution_equals_keras(shape: tuple[int, int]) -> None:
    """Outputs and gradients, with Keras's convolution in float64 as the truth."""
    x = np.random.default_rng(0).normal(size=(6, *shape, 64))
    truth = keras.layers.Conv2D(80, 3, padding="same", activation="gelu", dtype="float64")
    ours = WinogradConv2D(80, 3, padding="same", activation="gelu")
    assert x.shape[-1] * ours.filters >= FEWEST_WEIGHTS
    results = []
    for layer in (truth, ours):
        layer.build(x.shape)
        layer.set_weights(truth.get_weights())
        layer.bias.assign(np.linspace(-1, 1, 80))
        with tf.GradientTape() as tape:
            inputs = tf.constant(x, layer.compute_dtype)
            tape.watch(inputs)
            outputs = layer(inputs, training=True)
            loss = tf.reduce_sum(outputs**2)
        results.append([outputs, *tape.gradient(loss, [inputs, *layer.trainable_weights])])
    for expected, found in zip(*results, strict=True):
        error = np.sqrt(np.mean((found.numpy() - expected) ** 2)) / np.std(expected)
        assert error < 1e-4


def test_winograd_convolution_leaves_few_weights_to_keras() -> None:
    x = np.random.default_rng(0).normal(size=(2, 7, 7, 4)).astype(np.float32)
    layer = WinogradConv2D(8, 3, padding="same")
    np.testing.assert_array_equal(layer(x, training=True), layer(x, training=False))


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize(
    ("channels", "training", "is_minimal"),
    [(5, True, True), (4, True, False), (5, False, False), (5, None, False)],
)
def test_minimal_filtering_is_for_training_with_enough_weights(
    monkeypatch: pytest.MonkeyPatch,
    channels: int,
    training: bool | None,
    is_minimal: bool,
    use_bias: bool,
) -> None:
    """40 weights of a pixel are enough here; which of two ways it was, rounding tells."""
    monkeypatch.setattr(winograd, "FEWEST_WEIGHTS", 40)
    x = np.random.default_rng(0).normal(size=(2, 7, 7, channels)).astype(np.float32)
    layers = [
        kind(8, 3, padding="same", use_bias=use_bias, activation="relu")
        for kind in (WinogradConv2D, keras.layers.Conv2D)
    ]
    for layer in layers:
        layer.build(x.shape)
        layer.set_weights(layers[0].get_weights())
    ours, theirs = (layer(x, training=training).numpy() for layer in layers)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert np.array_equal(ours, theirs) is not is_minimal


@pytest.mark.parametrize(
    ("instructions", "fewest"),
    [(["AVX2", "AVX512F"], 5000), (["X86_V4"], 5000), (["AVX2"], 1000), ([], 1000)],
)
def test_products_in_half_the_time_need_more_weights(
    monkeypatch: pytest.MonkeyPatch, instructions: list[str], fewest: int
) -> None:
    monkeypatch.setattr(processors, "INSTRUCTION_SETS", instructions)
    assert runpy.run_path(winograd.__file__)["FEWEST_WEIGHTS"] == fewest


@pytest.mark.parametrize(
    "settings",
    [
        {"kernel_size": 5},
        {"kernel_size": (3, 1)},
        {"kernel_size": (1, 3)},
        {"strides": 2},
        {"strides": (1, 2)},
        {"padding": "valid"},
        {"dilation_rate": 2},
        {"dilation_rate": (2, 1)},
        {"groups": 2},
    ],
    ids=str,
)
def test_winograd_convolution_refuses_what_it_cannot_do(settings: dict[str, Any]) -> None:
    settings = {"filters": 8, "kernel_size": 3, "padding": "same", "name": "block1a"} | settings
    with pytest.raises(ValueError, match="only 3 x 3") as caught:
        WinogradConv2D(**settings).build((None, 8, 8, 4))
    assert str(caught.value) == "block1a: only 3 x 3, padding same, strides 1, no groups"
