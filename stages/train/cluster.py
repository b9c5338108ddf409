"""Several machines that train together: who they are, what they share, and one that is gone."""

import io
import json
import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Literal, Self

import keras
import numpy as np
import tensorflow as tf
from pydantic import BaseModel, Field, NonNegativeInt, ValidationError, model_validator

from stages.errors import InputError, TrainingError
from stages.problems import explain
from stages.train.history import Row
from stages.train.replicas import summed

Kind = Literal["chief", "worker"]
Address = Annotated[str, Field(pattern=r"^.+:\d+$")]
# Of Slurm on one machine.
MOST_TASKS = 1000
# As TensorFlow names a worker in its errors.
TASK = re.compile(r"/job:(\w+)/(?:replica:\d+/)?task:(\d+)")


class Task(BaseModel):
    type: Kind
    index: NonNegativeInt


class Config(BaseModel):
    """What TF_CONFIG says; other keys are of no use here."""

    cluster: dict[Kind, list[Address]]
    task: Task

    @model_validator(mode="after")
    def has_task(self) -> Self:
        """Raise a ValueError where this machine is not of the cluster."""
        if self.task.index >= len(self.cluster.get(self.task.type, [])):
            raise ValueError(f"no {self.task.type} {self.task.index} in its cluster")
        return self


def strategy_on(places: list[tf.DeviceSpec]) -> tf.distribute.Strategy:
    """Return the strategy in whose scope a training runs on these devices of this machine.

    Raises:
        InputError: TF_CONFIG names no cluster, or this machine is not of it.
    """
    if resolver := cluster(gpus=sum(place.device_type == "GPU" for place in places)):
        return tf.distribute.MultiWorkerMirroredStrategy(resolver)
    names = [place.to_string() for place in places]
    if len(names) == 1:
        return tf.distribute.OneDeviceStrategy(names[0])
    return tf.distribute.MirroredStrategy(names)


def cluster(gpus: int) -> tf.distribute.cluster_resolver.ClusterResolver | None:
    """Return the machines that train together, as TF_CONFIG or Slurm names them; None alone.

    Args:
        gpus: how many this machine trains on.
    """
    if text := os.environ.get("TF_CONFIG"):
        try:
            config = Config.model_validate_json(text, strict=True)
        except ValidationError as error:
            raise InputError(explain("TF_CONFIG", Config, error)) from None
        several = sum(map(len, config.cluster.values())) > 1
        return tf.distribute.cluster_resolver.TFConfigClusterResolver() if several else None
    if int(os.environ.get("SLURM_STEP_NUM_TASKS", 1)) == 1:
        return None
    # It would allot GPUs by nvidia-smi, after Slurm has done so.
    slurm = tf.distribute.cluster_resolver.SlurmClusterResolver(
        gpus_per_node=MOST_TASKS, gpus_per_task=1, auto_set_gpu=False
    )
    machines = slurm.cluster_spec()
    kind, index = slurm.get_task_info()
    return tf.distribute.cluster_resolver.SimpleClusterResolver(
        machines, "", kind, index, num_accelerators={"GPU": gpus}, rpc_layer="grpc"
    )


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


def refuse_other_work(fingerprint: str) -> None:
    """Raise an InputError where this machine was to train anything else than the chief.

    Args:
        fingerprint: hexadecimal digits that stand for parameters, data and code.
    """
    if not has_several_machines():
        return
    own = np.frombuffer(bytes.fromhex(fingerprint), np.uint8).astype(np.int64)
    if not np.array_equal(first_of_all(own), own):
        raise InputError(
            "params.yaml: the parameters, data or code differ from those of the first machine; all "
            "need the same commit, params.yaml and data/processed"
        )


def has_several_machines() -> bool:
    """Return whether several machines train together."""
    return isinstance(tf.distribute.get_strategy(), tf.distribute.MultiWorkerMirroredStrategy)


def of_chief(rows: list[Row], state: list[keras.Variable]) -> list[Row]:
    """Return the chief's rows, and give its state to all, bit by bit."""
    if not has_several_machines():
        return rows
    text = json.dumps(rows).encode()
    size = int(first_of_all(np.array(len(text), np.int64)))
    # In one exchange: TensorFlow 2.21 takes a second to arrange each under Python 3.13.
    arrays = [variable.numpy() for variable in state]
    content = text[:size].ljust(size) + b"".join(array.tobytes() for array in arrays)
    integers = np.frombuffer(content.ljust(math.ceil(len(content) / 8) * 8), np.int64)
    received = io.BytesIO(first_of_all(integers).tobytes())
    rows = json.loads(received.read(size))
    for variable, array in zip(state, arrays, strict=True):
        values = np.frombuffer(received.read(array.nbytes), array.dtype)
        variable.assign(values.reshape(array.shape))
    return rows


def first_of_all(array: np.ndarray) -> np.ndarray:
    """Return the array of the first device of all, where each has one of this shape and type."""

    def own() -> tf.Tensor:
        is_first = tf.distribute.get_replica_context().replica_id_in_sync_group == 0
        return tf.where(is_first, array, tf.zeros_like(array))

    return tf.function(summed)(own).numpy()
