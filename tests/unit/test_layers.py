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


def results(x: tf.Tensor, upstream: np.ndarray | float, policy: str) -> tuple[tf.Tensor, tf.Tensor]:
    """Return GELU of `x`, and the gradient for `x` from that for its GELU."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = CompiledGelu(dtype=policy)(x)
    upstream = tf.cast(tf.broadcast_to(upstream, x.shape), outputs.dtype)
    return outputs, tape.gradient(outputs, x, upstream)


def test_values_and_gradients_are_those_of_the_normal_distribution() -> None:
    """X times the share below x; its gradient is that share plus x times the density."""
    x = np.linspace(-8, 8, 4002).reshape(2, -1)
    upstream = np.linspace(3, -2, x.size).reshape(x.shape)
    outputs, gradient = results(tf.constant(x, tf.float32), upstream, "float32")
    np.testing.assert_allclose(outputs, x * norm.cdf(x), rtol=1e-5, atol=2e-6)
    expected = upstream * (norm.cdf(x) + x * norm.pdf(x))
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=5e-6)


@pytest.mark.parametrize("kind", [tf.bfloat16, tf.float32])
def test_in_bfloat16_the_results_are_rounded_once(kind: tf.DType) -> None:
    """To the nearest number, also of float32, as the first layer leaves it."""
    inputs = tf.cast(np.linspace(-4, 4, 4001), kind)
    x = inputs.numpy().astype(float)
    outputs, gradient = results(inputs, 1.0, "mixed_bfloat16")
    assert (outputs.dtype, gradient.dtype) == (tf.bfloat16, kind)
    exact = (x * norm.cdf(x)).astype(np.float32)
    assert np.mean(outputs == tf.cast(exact, tf.bfloat16)) > 0.99
    rtol = 1 / 256 if kind == tf.bfloat16 else 1e-5
    expected = norm.cdf(x) + x * norm.pdf(x)
    np.testing.assert_allclose(gradient.numpy().astype(float), expected, rtol, atol=5e-6)


def test_larger_numbers_have_no_limit() -> None:
    """Where the share below x is 0 or 1, to within the 2e-8 that it is at 5.5."""
    x = tf.constant([-1000, -100, -10, -5.6, 5.6, 10, 100, 1000, np.inf, np.nan], tf.float32)
    outputs, gradient = results(x, 1.0, "float32")
    np.testing.assert_allclose(outputs, np.maximum(x, 0), rtol=2e-7, atol=3e-4)
    np.testing.assert_allclose(gradient[:-1], x[:-1] > 0, atol=1e-6)


def test_numbers_are_rounded_to_the_nearest() -> None:
    """The middle between two away from zero; what is no number stays so, to stop the training."""
    x = tf.constant([1, 1.0038, 1.00390625, 1.004, -1.00390625, np.inf, np.nan], tf.float32)
    step = 2**-7
    expected = [1, 1, 1 + step, 1 + step, -1 - step, np.inf, np.nan]
    np.testing.assert_array_equal(tf.cast(rounded(x, tf.bfloat16), tf.float32), expected)


BETA, GAMMA = np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.5, -1.0, 2.0, 3.0])
MEAN, VARIANCE = np.array([3.0, 2.0, 1.0, 0.0]), np.array([1.0, 4.0, 0.25, 9.0])
X = np.random.default_rng(0).normal(3, 2, (2, 5, 7, 4))


@pytest.mark.parametrize("gamma", [None, GAMMA])
def test_normalization_is_by_the_batch_and_moves_its_statistics(gamma: np.ndarray | None) -> None:
    layer = FusedBatchNormalization(momentum=0.7, epsilon=0.1, scale=gamma is not None)
    layer.build((None, 5, 7, 4))
    layer.set_weights([*([] if gamma is None else [gamma]), BETA, MEAN, VARIANCE])
    normalized = (X - X.mean((0, 1, 2))) / np.sqrt(X.var((0, 1, 2)) + 0.1)
    expected = normalized * (1 if gamma is None else gamma) + BETA
    for step in (1, 2):
        outputs = layer(tf.constant(X, tf.float32), training=True)
        np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)
        # The fused kernel's moving variance is the unbiased one.
        kept = 0.7**step
        mean = kept * MEAN + (1 - kept) * X.mean((0, 1, 2))
        variance = kept * VARIANCE + (1 - kept) * X.var((0, 1, 2), ddof=1)
        np.testing.assert_allclose(layer.moving_mean.numpy(), mean, rtol=1e-5)
        np.testing.assert_allclose(layer.moving_variance.numpy(), variance, rtol=1e-5)


def pooled(layer: keras.layers.Layer, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what a layer answers, and the gradient of the sum of its squares."""
    x = tf.constant(images)

    @tf.function(jit_compile=isinstance(layer, CompiledMaxPooling2D))
    def both() -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            answers = layer(x)
            value = tf.reduce_sum(answers**2)
        return answers, tape.gradient(value, x)

    answers, gradient = both()
    return answers.numpy(), gradient.numpy()


# A side that the pool's does not divide loses its last rows and columns.
@pytest.mark.parametrize("shape", [(4, 6), (5, 7)])
@pytest.mark.parametrize("size", [1, 2, (2, 1)])
def test_pooling_does_what_keras_does_compiled_by_xla(shape: tuple[int, int], size: Any) -> None:
    tf.config.experimental.enable_op_determinism()
    images = np.random.default_rng(0).normal(size=(3, *shape, 2)).astype(np.float32)
    found = pooled(CompiledMaxPooling2D(size), images)
    np.testing.assert_equal(found, pooled(keras.layers.MaxPooling2D(size), images))


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
    assert [type(layer) for layer in copy.layers if type(layer).__module__[:5] != "keras"] == [
        FastConv2D,
        FusedBatchNormalization,
        CompiledGelu,
        FastConv2D,
    ]
    pixels = generator.random((5, 8, 8, 3), np.float32)
    np.testing.assert_allclose(copy(pixels), model(pixels), rtol=1e-4)


@pytest.mark.parametrize(
    "layer",
    [
        CompiledMaxPooling2D(2, strides=1),
        CompiledMaxPooling2D(2, padding="same"),
        FusedBatchNormalization(axis=1),
        FusedBatchNormalization(center=False),
    ],
)
def test_what_a_layer_does_not_do_is_refused(layer: keras.layers.Layer) -> None:
    with pytest.raises(ValueError, match=f"{layer.name}: only "):
        layer.build((None, 8, 8, 4))
