"""Divides a batch among the devices that train together, and brings together what they compute.

Each device has the images and a copy of the variables. Gradients are summed over the devices, and
batch normalization takes its statistics of the whole batch, so that the result does not depend on
how many there are but for rounding; dropout draws the same mask on each.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from stages.cifar10 import CLASSES


def count() -> int:
    """Return how many devices train together."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def on_each(array: np.ndarray) -> Any:
    """Return an array on each of the devices."""
    strategy = tf.distribute.get_strategy()
    # By itself, a tensor made of an array keeps a second copy of it.
    return strategy.run(tf.identity, (tf.convert_to_tensor(array),))


def summed(function: Callable[..., tf.Tensor], *arguments: Any) -> tf.Tensor:
    """Call a function on each device, and return the sum of what it gives."""
    strategy = tf.distribute.get_strategy()
    return strategy.reduce("SUM", strategy.run(function, arguments), axis=None)


def mean_loss(
    loss: keras.losses.Loss, labels: tf.Tensor, answers: tf.Tensor, size: float
) -> tf.Tensor:
    """Return what a device's part of a batch adds to the mean loss of all its `size` images."""
    mean = loss(tf.one_hot(labels, len(CLASSES)), answers)
    if count() == 1:
        return mean
    # Keras has divided the mean of the part by the number of devices.
    return mean * tf.cast(count() * tf.size(labels), tf.float32) / size


def averaged(gradients: list[tf.Tensor]) -> list[tf.Tensor]:
    """Return gradients averaged over the devices, which are then clipped all alike.

    Keras clips each device's own before it sums them.
    """
    if count() == 1:
        return gradients
    return tf.distribute.get_replica_context().all_reduce("MEAN", gradients)


def apply(
    optimizer: keras.optimizers.Optimizer,
    gradients: list[tf.Tensor],
    variables: list[keras.Variable],
) -> None:
    """Take an optimizer's step, by the gradients of all devices."""
    if optimizer.global_clipnorm:
        gradients = averaged(gradients)
    optimizer.apply(gradients, variables)


def own_part(rows: dict[str, tf.Tensor]) -> tuple[dict[str, tf.Tensor], int]:
    """Return a device's part of the rows of a batch, and how many devices have the same part.

    Each has all rows where there are fewer than devices, since no layer takes an empty batch.
    """
    devices = count()
    if len(rows["index"]) < devices:
        return rows, devices
    first = tf.distribute.get_replica_context().replica_id_in_sync_group
    return {name: values[first::devices] for name, values in rows.items()}, 1


def synchronize(model: keras.Model) -> None:
    """Let batch normalization take its statistics of the whole batch."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = count() > 1
