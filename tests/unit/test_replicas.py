"""Who trains together, who of them writes, and what is said where one is gone."""

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from stages import device as device  # First, since TensorFlow reads what it sets.
from stages.errors import TrainingError
from stages.train import replicas

import keras  # isort: skip
import tensorflow as tf  # isort: skip

WORKERS = {"worker": ["one:1", "two:2"]}
WITH_CHIEF = {"chief": ["one:1"], "worker": ["two:2"]}


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Know of no cluster, wherever the tests run."""
    for name in ("TF_CONFIG", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)


def set_task(monkeypatch: pytest.MonkeyPatch, cluster: object, kind: str, index: int) -> None:
    task = {"cluster": cluster, "task": {"type": kind, "index": index}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(task))


def test_alone_there_is_no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    assert replicas.cluster() is None
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")
    assert replicas.cluster() is None


def test_tf_config_names_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    set_task(monkeypatch, WORKERS, "worker", 1)
    found = replicas.cluster()
    assert found
    assert found.cluster_spec().as_dict() == WORKERS
    assert (found.task_type, found.task_id) == ("worker", 1)


def test_slurm_names_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """By TensorFlow's own resolver: two tasks on two nodes, this one the second."""
    for name, value in {
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_NODELIST": "node[1-2]",
        "SLURM_STEP_TASKS_PER_NODE": "1(x2)",
        "SLURM_PROCID": "1",
        "SLURM_LOCALID": "0",
    }.items():
        monkeypatch.setenv(name, value)
    found = replicas.cluster()
    assert found
    assert found.cluster_spec().as_dict() == {"worker": ["node1:8888", "node2:8888"]}
    assert (found.task_type, found.task_id) == ("worker", 1)


@pytest.mark.parametrize(
    ("cluster", "kind", "index", "is_chief"),
    [
        (WORKERS, "worker", 0, True),
        (WORKERS, "worker", 1, False),
        (WITH_CHIEF, "chief", 0, True),
        (WITH_CHIEF, "worker", 0, False),
    ],
)
def test_one_of_them_writes(
    monkeypatch: pytest.MonkeyPatch,
    cluster: dict[str, list[str]],
    kind: str,
    index: int,
    is_chief: bool,
) -> None:
    set_task(monkeypatch, cluster, kind, index)
    strategy = SimpleNamespace(cluster_resolver=replicas.cluster())
    monkeypatch.setattr(tf.distribute, "get_strategy", lambda: strategy)
    assert replicas.is_chief() is is_chief


def test_who_is_alone_writes() -> None:
    assert replicas.is_chief()
    with replicas.strategy_on([tf.DeviceSpec(device_type="CPU", device_index=0)]).scope():
        assert replicas.is_chief()


def test_alone_nothing_is_shared_out() -> None:
    rows: list[Any] = [{"epoch": 1}]
    state = [keras.Variable([1.0, 2.0])]
    assert replicas.of_chief(rows, state) is rows
    assert replicas.count() == 1
    part = {"index": tf.constant([3, 1, 2])}
    found, copies = replicas.own_part(part)
    assert found["index"].numpy().tolist() == [3, 1, 2]
    assert copies == 1
    gradients = [tf.constant([4.0])]
    assert replicas.averaged(gradients) is gradients
    np.testing.assert_array_equal(replicas.on_each(np.array([5, 6])), [5, 6])
    assert float(replicas.summed(lambda x: 2 * x, tf.constant(3.0))) == 6


ERRORS = [
    (
        tf.errors.UnavailableError,
        "unhealthy (stopped sending heartbeats):\n/job:worker/replica:0/task:1\nThe tasks",
        "worker 1 is gone",
    ),
    (tf.errors.UnavailableError, "Error reported from /job:chief/task:0: x", "chief 0 is gone"),
    (tf.errors.DeadlineExceededError, "Deadline Exceeded", "another worker is gone"),
]


@pytest.mark.parametrize(("kind", "message", "says"), ERRORS)
def test_a_worker_that_is_gone_is_named(
    kind: type[tf.errors.OpError], message: str, says: str
) -> None:
    with pytest.raises(TrainingError) as caught, replicas.all_there():
        raise kind(None, None, message)
    assert str(caught.value) == (
        f"{says}; once all workers are started again, the training goes on after its last finished "
        "epoch"
    )


def test_other_errors_stay_as_they_are() -> None:
    with pytest.raises(tf.errors.InternalError), replicas.all_there():
        raise tf.errors.InternalError(None, None, "a defect")
