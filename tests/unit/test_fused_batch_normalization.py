"""Batch normalization on the fused kernel, by its formulas in NumPy."""

from typing import Any

import numpy as np
import pytest

from stages import device as device  # First, since TensorFlow reads what it sets.
from stages.models.fused_batch_normalization import FusedBatchNormalization

import keras  # isort: skip
import tensorflow as tf  # isort: skip

BETA, GAMMA = np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.5, -1.0, 2.0, 3.0])
MEAN, VARIANCE = np.array([3.0, 2.0, 1.0, 0.0]), np.array([1.0, 4.0, 0.25, 9.0])


def normalization(scale: bool) -> FusedBatchNormalization:
    layer = FusedBatchNormalization(momentum=0.7, epsilon=0.1, scale=scale)
    layer.build((None, 5, 7, 4))
    layer.beta.assign(BETA)
    if scale:
        layer.gamma.assign(GAMMA)
    layer.moving_mean.assign(MEAN)
    layer.moving_variance.assign(VARIANCE)
    return layer


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    return np.random.default_rng(0).normal(3, 2, (2, 5, 7, 4))


@pytest.mark.parametrize("scale", [True, False])
def test_while_training_it_normalizes_by_the_batch(x: np.ndarray, scale: bool) -> None:
    layer = normalization(scale)
    for step in (1, 2):
        outputs = layer(tf.constant(x, tf.float32), training=True)
        gamma = GAMMA if scale else np.ones(4)
        expected = (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 0.1) * gamma + BETA
        np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)
        # The fused kernel's moving variance is the unbiased one.
        kept = 0.7**step
        mean = kept * MEAN + (1 - kept) * x.mean((0, 1, 2))
        variance = kept * VARIANCE + (1 - kept) * x.var((0, 1, 2), ddof=1)
        np.testing.assert_allclose(layer.moving_mean.numpy(), mean, rtol=1e-5)
        np.testing.assert_allclose(layer.moving_variance.numpy(), variance, rtol=1e-5)


@pytest.mark.parametrize("training", [False, None])
@pytest.mark.parametrize("scale", [True, False])
def test_afterwards_it_normalizes_by_the_moving_statistics(
    x: np.ndarray, scale: bool, training: bool | None
) -> None:
    layer = normalization(scale)
    outputs = layer(tf.constant(x, tf.float32), training=training)
    expected = (x - MEAN) / np.sqrt(VARIANCE + 0.1) * (GAMMA if scale else 1) + BETA
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(layer.moving_mean.numpy(), MEAN)
    np.testing.assert_array_equal(layer.moving_variance.numpy(), VARIANCE)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("scale", [True, False])
def test_fused_normalization_equals_keras(training: bool, scale: bool) -> None:
    x = np.random.default_rng(0).normal(3, 2, (16, 5, 7, 4)).astype(np.float32)
    layers = [
        kind(momentum=0.6, epsilon=1e-3, scale=scale)
        for kind in (keras.layers.BatchNormalization, FusedBatchNormalization)
    ]
    results = []
    for layer in layers:
        layer.build(x.shape)
        layer.beta.assign([1.0, 2.0, 3.0, 4.0])
        with tf.GradientTape() as tape:
            inputs = tf.constant(x)
            tape.watch(inputs)
            outputs = layer(inputs, training=training)
            loss = tf.reduce_sum(outputs**3)
        gradients = tape.gradient(loss, [inputs, *layer.trainable_weights])
        results.append([outputs, *gradients, layer.moving_mean, layer.moving_variance])
    for expected, found in zip(*results, strict=True):
        # The fused kernel's moving variance is the unbiased one, n / (n - 1) of Keras's.
        np.testing.assert_allclose(found, expected, rtol=4e-3, atol=4e-3)


@pytest.mark.parametrize(
    ("shape", "settings"),
    [((2, 4), {}), ((2, 3, 4), {}), ((2, 5, 5, 4), {"axis": 1}), ((2, 5, 5, 4), {"center": False})],
    ids=str,
)
def test_what_the_kernel_cannot_do_is_refused(
    shape: tuple[int, ...], settings: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match="only") as caught:
        FusedBatchNormalization(name="first", **settings).build(shape)
    assert str(caught.value) == "first: only (n, height, width, channels), axis -1, center"


@pytest.mark.parametrize("axis", [-1, 3])
def test_the_last_axis_has_two_numbers(axis: int) -> None:
    layer = FusedBatchNormalization(axis=axis)
    assert layer(np.ones((2, 5, 5, 4))).shape == (2, 5, 5, 4)


def test_moving_statistics_are_not_rounded_to_bfloat16() -> None:
    """The result is: half a unit of its last place is 1/256 of it at most."""
    layer = FusedBatchNormalization(epsilon=0.0, dtype="mixed_bfloat16")
    inputs = tf.cast(np.linspace(-1, 1, 200).reshape(2, 5, 5, 4), tf.bfloat16)
    layer.build(inputs.shape)
    moving, variance = np.full(4, 100.3), np.full(4, 1.003e-2)
    layer.moving_mean.assign(moving)
    layer.moving_variance.assign(variance)
    outputs = layer(inputs, training=False)
    assert outputs.dtype == tf.bfloat16
    expected = (inputs.numpy().astype(float) - moving) / np.sqrt(variance)
    np.testing.assert_allclose(outputs.numpy().astype(float), expected, rtol=1 / 256)
