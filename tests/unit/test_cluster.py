"""Who trains together, who of them writes, and what is said where one is gone."""

import json
import os
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from stages import device as device  # First, since TensorFlow reads what it sets.
from stages.errors import InputError, TrainingError
from stages.train import cluster

import keras  # isort: skip
import tensorflow as tf  # isort: skip

WORKERS = {"worker": ["one:1", "two:2"]}
WITH_CHIEF = {"chief": ["one:1"], "worker": ["two:2"]}


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Know of no cluster, wherever the tests run."""
    for name in ("TF_CONFIG", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)


def set_task(monkeypatch: pytest.MonkeyPatch, machines: object, kind: str, index: int) -> None:
    task = {"cluster": machines, "task": {"type": kind, "index": index}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(task))


def test_alone_there_is_no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cluster.cluster(gpus=3) is None
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")
    assert cluster.cluster(gpus=3) is None


def test_tf_config_names_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    set_task(monkeypatch, WORKERS, "worker", 1)
    found = cluster.cluster(gpus=3)
    assert found
    assert found.cluster_spec().as_dict() == WORKERS
    assert (found.task_type, found.task_id) == ("worker", 1)


ONE = '{"cluster": {"worker": ["one:1"]}, "task": {"type": "worker", "index": 0}}'
# By TF_CONFIG, its cluster and task shown as CLUSTER and TASK, what is said of it.
REFUSED = {
    "x": "TF_CONFIG = 'x': Invalid JSON: expected value at line 1 column 1",
    "[]": "TF_CONFIG = []: should be a mapping",
    "{}": "TF_CONFIG.cluster: missing (and 1 more: task)",
    "{CLUSTER}": "TF_CONFIG.task: missing",
    '{"cluster": {"ps": ["one:1"]}, TASK}': (
        "TF_CONFIG.cluster.ps.[key] = 'ps': should be 'chief' or 'worker'"
    ),
    '{"cluster": {"worker": ["one"]}, TASK}': (
        "TF_CONFIG.cluster.worker.0 = 'one': String should match pattern '^.+:\\d+$'"
    ),
    '{CLUSTER, "task": {"type": "ps", "index": 0}}': (
        "TF_CONFIG.task.type = 'ps': should be 'chief' or 'worker'"
    ),
    '{CLUSTER, "task": {"type": "worker", "index": 2}}': (
        "TF_CONFIG = {'cluster': {'worker': ['one:1', 'two:2']}, "
        "'task': {'type': 'worker', 'index': 2}}: no worker 2 in its cluster"
    ),
    '{CLUSTER, "task": {"type": "chief", "index": 0}}': (
        "TF_CONFIG = {'cluster': {'worker': ['one:1', 'two:2']}, "
        "'task': {'type': 'chief', 'index': 0}}: no chief 0 in its cluster"
    ),
}


@pytest.mark.parametrize("text", REFUSED)
def test_a_cluster_without_this_machine_is_refused(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    given = text.replace("CLUSTER", '"cluster": {"worker": ["one:1", "two:2"]}')
    given = given.replace("TASK", '"task": {"type": "worker", "index": 0}')
    monkeypatch.setenv("TF_CONFIG", given)
    with pytest.raises(InputError) as caught:
        cluster.cluster(gpus=3)
    assert str(caught.value) == REFUSED[text]


@pytest.mark.parametrize("text", ["", ONE])
def test_a_cluster_of_one_is_alone(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("TF_CONFIG", text)
    assert cluster.cluster(gpus=3) is None


def test_slurm_names_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its own resolver of TensorFlow: three tasks on two nodes, this one the last."""
    for name, value in {
        "SLURM_STEP_NUM_TASKS": "3",
        "SLURM_STEP_NODELIST": "node[1-2]",
        "SLURM_STEP_TASKS_PER_NODE": "2,1",
        "SLURM_PROCID": "2",
    }.items():
        monkeypatch.setenv(name, value)
    found = cluster.cluster(gpus=3)
    assert found
    assert found.cluster_spec().as_dict() == {"worker": ["node1:8888", "node1:8889", "node2:8888"]}
    assert (found.task_type, found.task_id) == ("worker", 2)
    assert found.num_accelerators() == {"GPU": 3}
    assert found.rpc_layer == "grpc"
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def cpus(count: int) -> list[tf.DeviceSpec]:
    return [tf.DeviceSpec(device_type="CPU", device_index=n) for n in range(count)]


def test_a_strategy_knows_its_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second mirrored one would number its exchanges like that of other tests."""
    _, second = cpus(2)
    (device,) = cluster.strategy_on([second]).extended.worker_devices
    assert device.endswith("CPU:1")
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", lambda devices: ("mirrored", devices))
    assert cluster.strategy_on(cpus(2)) == ("mirrored", ["/device:CPU:0", "/device:CPU:1"])


def test_machines_make_one_strategy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tf.distribute, "MultiWorkerMirroredStrategy", lambda given: ("all", given))
    monkeypatch.setattr(cluster, "cluster", lambda gpus: f"{gpus} GPUs")
    gpus = [tf.DeviceSpec(device_type="GPU", device_index=n) for n in range(3)]
    assert cluster.strategy_on(gpus) == ("all", "3 GPUs")
    assert cluster.strategy_on(cpus(2)) == ("all", "0 GPUs")


@pytest.mark.parametrize(
    ("machines", "kind", "index", "is_chief"),
    [
        (WORKERS, "worker", 0, True),
        (WORKERS, "worker", 1, False),
        (WITH_CHIEF, "chief", 0, True),
        (WITH_CHIEF, "worker", 0, False),
    ],
)
def test_one_of_them_writes(
    monkeypatch: pytest.MonkeyPatch,
    machines: dict[str, list[str]],
    kind: str,
    index: int,
    is_chief: bool,
) -> None:
    set_task(monkeypatch, machines, kind, index)
    strategy = SimpleNamespace(cluster_resolver=cluster.cluster(gpus=3))
    monkeypatch.setattr(tf.distribute, "get_strategy", lambda: strategy)
    assert cluster.is_chief() is is_chief


def test_who_is_alone_writes() -> None:
    assert cluster.is_chief()
    with cluster.strategy_on([tf.DeviceSpec(device_type="CPU", device_index=0)]).scope():
        assert cluster.is_chief()


def test_alone_the_own_rows_are_the_chiefs() -> None:
    rows: list[Any] = [{"epoch": 1}]
    assert cluster.of_chief(rows, [keras.Variable([1.0, 2.0])]) is rows


def test_all_do_the_work_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of all gives its fingerprint to the others."""
    cluster.refuse_other_work("00ff")
    monkeypatch.setattr(cluster, "has_several_machines", lambda: True)
    monkeypatch.setattr(cluster, "first_of_all", lambda array: np.array([0, 255]))
    cluster.refuse_other_work("00ff")
    with pytest.raises(InputError) as caught:
        cluster.refuse_other_work("00fe")
    assert str(caught.value) == (
        "params.yaml: the parameters, data or code differ from those of the first machine; all "
        "need the same commit, params.yaml and data/processed"
    )


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
    with pytest.raises(TrainingError) as caught, cluster.all_there():
        raise kind(None, None, message)
    assert str(caught.value) == (
        f"{says}; once all workers are started again, the training goes on after its last finished "
        "epoch"
    )


def test_other_errors_stay_as_they_are() -> None:
    with pytest.raises(tf.errors.InternalError), cluster.all_there():
        raise tf.errors.InternalError(None, None, "a defect")
