"""Where a training runs: on one device, or on several that each take a part of every batch.

Each device has the images and a copy of the variables. Gradients are summed over the devices, and
batch normalization takes its statistics of the whole batch, so that the result does not depend on
how many there are but for rounding; dropout draws the same mask on each.
"""

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from stages.errors import TrainingError
from stages.train.history import Row

# As TensorFlow names a worker in its errors.
TASK = re.compile(r"/job:(\w+)/(?:replica:\d+/)?task:(\d+)")


def cluster() -> tf.distribute.cluster_resolver.ClusterResolver | None:
    """Return the machines that train together, as TF_CONFIG or Slurm names them; None alone."""
    if "TF_CONFIG" in os.environ:
        return tf.distribute.cluster_resolver.TFConfigClusterResolver()
    if int(os.environ.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
        return tf.distribute.cluster_resolver.SlurmClusterResolver()
    return None


def strategy_on(places: list[tf.DeviceSpec]) -> tf.distribute.Strategy:
    """Return the strategy in whose scope a training runs on these devices."""
    if resolver := cluster():
        return tf.distribute.MultiWorkerMirroredStrategy(resolver)
    names = [place.to_string() for place in places]
    if len(names) == 1:
        return tf.distribute.OneDeviceStrategy(names[0])
    return tf.distribute.MirroredStrategy(names)


def count() -> int:
    """Return how many devices train together."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def is_chief() -> bool:
    """Return whether this process writes the results: it is alone, or the first of several."""
    resolver = tf.distribute.get_strategy().cluster_resolver
    if not resolver or not resolver.task_type:
        return True
    return resolver.task_type == "chief" or (
        resolver.task_id == 0 and "chief" not in resolver.cluster_spec().jobs
    )


@contextmanager
def all_there() -> Iterator[None]:
    """Explain where another machine that trains together with this one is gone."""
    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.DeadlineExceededError) as error:
        found = TASK.search(str(error))
        who = " ".join(found.groups()) if found else "another worker"
        raise TrainingError(
            f"{who} is gone; once all workers are started again, the training goes on after its "
            "last finished epoch"
        ) from None


def of_chief(rows: list[Row], state: list[keras.Variable]) -> list[Row]:
    """Return the chief's rows, and give its state to all."""
    if not isinstance(tf.distribute.get_strategy(), tf.distribute.MultiWorkerMirroredStrategy):
        return rows
    text = np.frombuffer(json.dumps(rows).encode(), np.uint8).astype(np.int64)
    size = int(first_of_all(np.array(len(text), np.int64)))
    text = np.resize(text, size)
    for variable in state:
        variable.assign(first_of_all(variable.numpy()))
    return json.loads(bytes(first_of_all(text).astype(np.uint8)))


def first_of_all(array: np.ndarray) -> np.ndarray:
    """Return the array of the first device of all, where each has one of this shape and type."""

    def own() -> tf.Tensor:
        is_first = tf.distribute.get_replica_context().replica_id_in_sync_group == 0
        return tf.where(is_first, array, tf.zeros_like(array))

    return tf.function(summed)(own).numpy()


def on_each(array: np.ndarray) -> Any:
    """Return an array on each of the devices."""
    strategy = tf.distribute.get_strategy()
    # By itself, a tensor made of an array keeps a second copy of it.
    return strategy.run(tf.identity, (tf.convert_to_tensor(array),))


def summed(function: Callable[..., tf.Tensor], *arguments: Any) -> tf.Tensor:
    """Call a function on each device, and return the sum of what it gives."""
    strategy = tf.distribute.get_strategy()
    return strategy.reduce("SUM", strategy.run(function, arguments), axis=None)


def averaged(gradients: list[tf.Tensor]) -> list[tf.Tensor]:
    """Return gradients averaged over the devices, which are then clipped all alike.

    Keras clips each device's own before it sums them.
    """
    if count() == 1:
        return gradients
    return tf.distribute.get_replica_context().all_reduce("MEAN", gradients)


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
