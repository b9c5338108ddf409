"""A moving average of the weights, which is often better than the weights of the last step.

Keras's own goes wrong where a step trains only some of the variables (Keras 3.15).
"""

import keras
import tensorflow as tf


def average(averaged: keras.Model, model: keras.Model, momentum: float, steps: tf.Tensor) -> None:
    """Move the weights of `averaged` towards those of `model`, after so many steps.

    A share `momentum` is kept, less in the first steps: min(momentum, (1 + steps) / (10 + steps)),
    as in https://www.tensorflow.org/api_docs/python/tf/train/ExponentialMovingAverage.
    """
    steps = tf.cast(steps, tf.float32)
    moved = 1 - tf.minimum(momentum, (1 + steps) / (10 + steps))
    for mean, weight in zip(averaged.weights, model.weights, strict=True):
        mean.assign_add(moved * (weight - mean))
