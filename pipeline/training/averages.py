"""A moving average of the weights, which is often better than the weights of the last step.

Keras's own `use_ema` averages all trainable variables, but neither the moving statistics of batch
normalization nor with less weight on the first steps.
"""

import keras
import tensorflow as tf


def update_ema(
    ema_model: keras.Model, model: keras.Model, momentum: float, steps: tf.Tensor
) -> None:
    """Move the weights of `ema_model` towards those of `model`, after so many steps.

    The part that they keep is min(momentum, (1 + steps) / (10 + steps)), as in
    https://www.tensorflow.org/api_docs/python/tf/train/ExponentialMovingAverage.
    """
    steps = tf.cast(steps, tf.float32)
    moved = 1 - tf.minimum(momentum, (1 + steps) / (10 + steps))
    for mean, weight in zip(ema_model.weights, model.weights, strict=True):
        mean.assign_add(moved * (weight - mean))
