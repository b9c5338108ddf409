"""Layers next to SciPy's GELU, batch normalization's formulas and Keras's max-pooling."""

from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from pipeline.layers.batch_normalization import FusedBatchNormalization
from pipeline.layers.convolution import FastConv2D
from pipeline.layers.gelu import CompiledGelu, rounded
from pipeline.layers.max_pooling import CompiledMaxPooling2D
from pipeline.layers.stock import with_fast_layers

import keras
import tensorflow as tf


def results(layer: keras.layers.Layer, x: tf.Tensor, upstream: Any) -> list[tf.Tensor]:
    """Return a layer's outputs, and the gradient for `x` from that for the outputs."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = layer(x)
    upstream = tf.cast(tf.broadcast_to(upstream, outputs.shape), outputs.dtype)
    return [outputs, tape.gradient(outputs, x, upstream)]


def test_values_and_gradients_are_those_of_the_normal_distribution() -> None:
    """X times the share below x; its gradient is that share plus x times the density."""
    x = np.linspace(-8, 8, 4002).reshape(2, -1)
    upstream = np.linspace(3, -2, x.size).reshape(x.shape)
    outputs, gradient = results(CompiledGelu(), tf.constant(x, tf.float32), upstream)
    np.testing.assert_allclose(outputs, x * norm.cdf(x), rtol=1e-5, atol=2e-6)
    expected = upstream * (norm.cdf(x) + x * norm.pdf(x))
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=5e-6)


@pytest.mark.parametrize("kind", [tf.bfloat16, tf.float32])
def test_in_bfloat16_the_results_are_rounded_once(kind: tf.DType) -> None:
    """To the nearest number, also of float32, as the first layer leaves it."""
    inputs = tf.cast(np.linspace(-4, 4, 4001), kind)
    x = inputs.numpy().astype(float)
    outputs, gradient = results(CompiledGelu(dtype="mixed_bfloat16"), inputs, 1.0)
    assert (outputs.dtype, gradient.dtype) == (tf.bfloat16, kind)
    exact = (x * norm.cdf(x)).astype(np.float32)
    assert np.mean(outputs == tf.cast(exact, tf.bfloat16)) > 0.99
    rtol = 1 / 256 if kind == tf.bfloat16 else 1e-5
    expected = norm.cdf(x) + x * norm.pdf(x)
    np.testing.assert_allclose(gradient.numpy().astype(float), expected, rtol, atol=5e-6)


def test_larger_numbers_have_no_limit() -> None:
    """Where the share below x is 0 or 1, to within the 2e-8 that it is at 5.5."""
    x = tf.constant([-1000, -100, -10, -5.6, 5.6, 10, 100, 1000, np.inf, np.nan], tf.float32)
    outputs, gradient = results(CompiledGelu(), x, 1.0)
    np.testing.assert_allclose(outputs, np.maximum(x, 0), rtol=2e-7, atol=3e-4)
    np.testing.assert_allclose(gradient[:-1], x[:-1] > 0, atol=1e-6)


def test_numbers_are_rounded_to_the_nearest() -> None:
    """The middle between two away from zero; what is no number stays so, to stop the training."""
    x = tf.constant([1, 1.0038, 1.00390625, 1.004, -1.00390625, np.inf, np.nan], tf.float32)
    step = 2**-7
    expected = [1, 1, 1 + step, 1 + step, -1 - step, np.inf, np.nan]
    np.testing.assert_array_equal(tf.cast(rounded(x, tf.bfloat16), tf.float32), expected)


def test_normalization_is_by_the_batch_and_moves_its_statistics() -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(3, 2, (2, 5, 7, 4))
    gamma, beta, mean, variance = generator.uniform(0.5, 4, (4, 4))
    layer = FusedBatchNormalization(momentum=0.7, epsilon=0.1)
    layer.build(x.shape)
    layer.set_weights([gamma, beta, mean, variance])
    expected = gamma * (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 0.1) + beta
    for _ in range(2):
        outputs = layer(tf.constant(x, tf.float32), training=True)
        np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)
        mean = 0.7 * mean + 0.3 * x.mean((0, 1, 2))
        # The fused kernel's moving variance is the unbiased one.
        variance = 0.7 * variance + 0.3 * x.var((0, 1, 2), ddof=1)
        np.testing.assert_allclose(layer.moving_mean, mean, rtol=1e-5)
        np.testing.assert_allclose(layer.moving_variance, variance, rtol=1e-5)


# A side that the pool's does not divide loses its last rows and columns.
@pytest.mark.parametrize("shape", [(4, 6), (5, 7)])
@pytest.mark.parametrize("size", [1, 2, (2, 1)])
def test_pooling_does_what_keras_does_compiled_by_xla(shape: tuple[int, int], size: Any) -> None:
    tf.config.experimental.enable_op_determinism()
    x = tf.constant(np.random.default_rng(0).normal(size=(3, *shape, 2)), tf.float32)
    stock = keras.layers.MaxPooling2D(size)
    upstream = stock(x)
    found = tf.function(results, jit_compile=True)(CompiledMaxPooling2D(size), x, upstream)
    for one, other in zip(found, results(stock, x, upstream), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_network_of_fast_layers_gives_the_same_answers() -> None:
    """What the fast layers do not have, such as strides or a ReLU, stays Keras's."""
    layers = keras.layers
    images = keras.Input((8, 8, 3))
    x = layers.Conv2D(40, 3, padding="same", activation="relu")(images)
    x = layers.Activation("gelu")(layers.BatchNormalization()(x))
    x = layers.MaxPooling2D()(layers.Conv2D(40, 3, padding="same", use_bias=False)(x))
    x = layers.Activation("relu")(layers.Conv2D(4, 3, strides=2)(x))
    x = layers.BatchNormalization()(layers.Flatten()(x))
    model = keras.Model(images, layers.Dense(3, activation="softmax")(x))
    generator = np.random.default_rng(0)
    model.set_weights([generator.random(w.shape) - 0.3 for w in model.get_weights()])
    copy = with_fast_layers(model)
    kinds = [type(layer) for layer in copy.layers if type(layer).__module__[:5] != "keras"]
    assert kinds == [
        *(FastConv2D, FusedBatchNormalization, CompiledGelu, FastConv2D),
        *(FastConv2D, CompiledGelu, FusedBatchNormalization),
    ]
    pixels = generator.random((5, 8, 8, 3), np.float32)
    np.testing.assert_allclose(copy(pixels), model(pixels), rtol=1e-4)


@pytest.mark.parametrize(
    ("layer", "stock"),
    [
        (CompiledMaxPooling2D(2, strides=1), keras.layers.MaxPooling2D(2, strides=1)),
        (CompiledMaxPooling2D(3, padding="same"), keras.layers.MaxPooling2D(3, padding="same")),
        (FusedBatchNormalization(axis=1), keras.layers.BatchNormalization(axis=1)),
        (FusedBatchNormalization(center=False), keras.layers.BatchNormalization(center=False)),
    ],
)
def test_what_cannot_be_faster_is_as_in_keras(
    layer: keras.layers.Layer, stock: keras.layers.Layer
) -> None:
    pixels = np.random.default_rng(0).random((5, 8, 8, 4), np.float32)
    np.testing.assert_array_equal(layer(pixels), stock(pixels))
