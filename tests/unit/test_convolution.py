"""The 3 x 3 convolution made for CPUs, next to TensorFlow's and Keras's in float64."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from pipeline.layers import convolution
from pipeline.layers.convolution import FastConv2D, direct_convolution, winograd_convolution

import keras
import tensorflow as tf

Convolution = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def results(form: Convolution, *given: np.ndarray, dtype: str) -> list[np.ndarray]:
    """Return outputs and both gradients, where the loss is the sum of squares."""
    inputs = [tf.constant(array, dtype) for array in given]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = form(*inputs)
        loss = tf.reduce_sum(tf.cast(outputs, "float64") ** 2)
    return [np.asarray(x, float) for x in (outputs, *tape.gradient(loss, inputs))]


def error(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the root mean square of the error, relative to that of what is expected."""
    return float(np.sqrt(np.mean((found - expected) ** 2) / np.mean(expected**2)))


# Tiles of every size, whole or cut by the border; images of up to 7 pixels are put side by side.
SHAPES = [(1, 1), (1, 6), (2, 2), (4, 3), (9, 2), (7, 7), (13, 12), (5, 16), (23, 31), (12, 16)]


@pytest.mark.parametrize(
    ("form", "dtype", "tolerances"),
    [
        (winograd_convolution, "float32", (2e-5, 1e-4)),
        (direct_convolution, "float32", (2e-6, 2e-6)),
        (direct_convolution, "bfloat16", (0.01, 0.05)),
    ],
)
@pytest.mark.parametrize("shape", SHAPES)
def test_each_form_is_the_convolution(
    form: Convolution, dtype: str, tolerances: tuple[float, float], shape: tuple[int, int]
) -> None:
    generator = np.random.default_rng(0)
    given = generator.normal(size=(5, *shape, 3)), generator.normal(size=(3, 3, 3, 5))
    exact = results(lambda x, kernel: tf.nn.conv2d(x, kernel, 1, "SAME"), *given, dtype="float64")
    found = results(form, *given, dtype=dtype)
    assert found[0].shape == (5, *shape, 5)
    assert error(found[0], exact[0]) < tolerances[0]
    assert max(map(error, found[1:], exact[1:])) < tolerances[1]


@pytest.mark.parametrize(
    ("precision", "channels", "use_bias", "form"),
    [
        ("float32", 5, False, winograd_convolution),
        ("float32", 4, False, partial(keras.ops.conv, padding="same")),
        ("mixed_bfloat16", 5, True, direct_convolution),
    ],
)
def test_the_layer_takes_the_form_for_its_precision_and_size(
    monkeypatch: pytest.MonkeyPatch, precision: str, channels: int, use_bias: bool, form: Any
) -> None:
    """Where 40 channels times filters are enough; which of two forms it was, rounding tells."""
    monkeypatch.setattr(convolution, "FEWEST_WEIGHTS", 40)
    layer = FastConv2D(8, 3, padding="same", activation="gelu", use_bias=use_bias, dtype=precision)
    x = tf.random.stateless_normal((2, 11, 7, channels), (0, 0), dtype=layer.compute_dtype)
    layer.build(x.shape)
    expected = form(x, tf.cast(layer.kernel, x.dtype))
    if use_bias:
        layer.bias.assign(np.linspace(-1, 1, 8))
        expected += tf.cast(layer.bias, x.dtype)
    np.testing.assert_array_equal(layer(x), keras.activations.gelu(expected))


@pytest.mark.parametrize("side", [1, 2, 5, 6, 9, 16, 23, 31, 32, 64])
def test_tiles_need_the_fewest_products(side: int) -> None:
    """A tile of n outputs takes n + 2 products along an axis, from 2 to 7 outputs."""
    needed = {n: math.ceil(side / n) * (n + 2) for n in range(2, 8)}
    _, _, points = convolution.transforms(side)
    assert needed[len(points) - 2] == min(needed.values())


@pytest.mark.parametrize(
    "settings",
    [{"kernel_size": 5}, {"padding": "valid"}, {"strides": 2}, {"dilation_rate": 2}, {"groups": 2}],
)
def test_what_cannot_be_faster_is_as_in_keras(settings: dict[str, Any]) -> None:
    settings = {"filters": 80, "kernel_size": 3, "padding": "same"} | settings
    settings["kernel_initializer"] = keras.initializers.GlorotUniform(0)
    x = np.random.default_rng(0).random((2, 8, 8, 80), np.float32)
    np.testing.assert_array_equal(FastConv2D(**settings)(x), keras.layers.Conv2D(**settings)(x))
