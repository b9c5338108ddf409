"""Max-pooling for XLA, against Keras's own."""

from typing import Any

import numpy as np
import pytest

from stages import device as device  # First, since TensorFlow reads what it sets.
from stages.models.compiled_max_pooling import CompiledMaxPooling2D
from stages.models.stock_layers import with_stock_layers

import keras  # isort: skip
import tensorflow as tf  # isort: skip


def pooled(layer: keras.layers.Layer, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what a layer answers, and the gradient of the sum of its squares."""
    x = tf.constant(images)
    with tf.GradientTape() as tape:
        tape.watch(x)
        answers = layer(x)
        value = tf.reduce_sum(answers**2)
    return answers.numpy(), tape.gradient(value, x).numpy()


# A side that the pool's does not divide loses its last rows and columns.
@pytest.mark.parametrize(("height", "width"), [(4, 6), (5, 7), (2, 2)])
@pytest.mark.parametrize("size", [1, 2, (2, 1)])
def test_it_does_what_keras_does(height: int, width: int, size: Any) -> None:
    images = np.random.default_rng(0).normal(size=(3, height, width, 2)).astype(np.float32)
    found = pooled(CompiledMaxPooling2D(size), images)
    expected = pooled(keras.layers.MaxPooling2D(size), images)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_equally_large_pixels_share_the_gradient() -> None:
    image = np.array([[3, 3], [1, 2]], np.float32).reshape(1, 2, 2, 1)
    _, gradient = pooled(CompiledMaxPooling2D(2), image)
    assert gradient.ravel().tolist() == [3, 3, 0, 0]


@pytest.mark.parametrize(
    "settings", [{"strides": 1}, {"strides": 3}, {"padding": "same"}, {"strides": (2, 1)}]
)
def test_other_poolings_are_refused(settings: dict[str, Any]) -> None:
    layer = CompiledMaxPooling2D(2, **settings, name="pool")
    with pytest.raises(ValueError, match="pool: only strides like the pool's size, padding valid"):
        layer(np.zeros((1, 4, 4, 1)))


@pytest.mark.parametrize("kind", [CompiledMaxPooling2D, keras.layers.MaxPooling2D])
def test_its_gradient_is_compiled_by_xla(kind: type[keras.layers.Layer]) -> None:
    """Which refuses that of Keras's own layer; else there would be no need for this one."""
    tf.config.experimental.enable_op_determinism()
    layer = kind(2)

    @tf.function(jit_compile=True)
    def gradient(images: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(images)
            value = tf.reduce_sum(layer(images) ** 2)
        return tape.gradient(value, images)

    images = tf.reshape(tf.range(16.0), (1, 4, 4, 1))
    if kind is keras.layers.MaxPooling2D:
        with pytest.raises(tf.errors.UnimplementedError, match="deterministic XLA"):
            gradient(images)
        return
    expected = [value * 2 if value in (5, 7, 13, 15) else 0 for value in range(16)]
    assert gradient(images).numpy().ravel().tolist() == expected


def test_it_is_saved_as_keras_own() -> None:
    model = keras.Sequential([keras.Input((4, 4, 1)), CompiledMaxPooling2D(2)])
    (layer,) = with_stock_layers(model).layers
    assert type(layer) is keras.layers.MaxPooling2D
    assert layer.get_config() == model.layers[0].get_config()
