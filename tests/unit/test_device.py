"""The device that works, and what makes its results the same each time."""

import gc
import os
import runpy
from typing import Any

import pytest
import threadpoolctl

from stages import device  # First, since TensorFlow reads what it sets.
from stages.errors import InputError
from stages.params import Device
from stages.processors import usable
from tests.unit.reader import read_output

import tensorflow as tf  # isort: skip

Calls = list[tuple[Any, ...]]
CPU, GPU = "/device:CPU:0", "/device:GPU:0"
# By GPUs, device and name.
CHOICES: list[tuple[list[str], Device, str, str]] = [
    ([], "auto", CPU, "device: CPU, no GPU is seen\n"),
    ([], "cpu", CPU, "device: CPU\n"),
    (["first", "second"], "cpu", CPU, "device: CPU\n"),
    (["first", "second"], "auto", GPU, "device: GPU, NVIDIA first\n"),
    (["first", "second"], "gpu", GPU, "device: GPU, NVIDIA first\n"),
    (["nameless"], "auto", GPU, "device: GPU, unnamed\n"),
]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Return what TensorFlow is asked for, in order."""
    calls: Calls = []

    def details(gpu: str) -> dict[str, str]:
        return {} if gpu == "nameless" else {"device_name": f"NVIDIA {gpu}"}

    for name in ("enable_op_determinism", "set_memory_growth"):
        monkeypatch.setattr(
            tf.config.experimental, name, lambda *given, name=name: calls.append((name, *given))
        )
    monkeypatch.setattr(tf.config.experimental, "get_device_details", details)
    return calls


@pytest.mark.parametrize(("gpus", "wanted", "place", "says"), CHOICES)
def test_the_device_is_chosen_and_told(
    monkeypatch: pytest.MonkeyPatch,
    calls: Calls,
    gpus: list[str],
    wanted: Device,
    place: str,
    says: str,
) -> None:
    monkeypatch.setattr(device, "GPUS", gpus)
    pipe = read_output(monkeypatch)
    assert device.select(wanted).to_string() == place
    assert pipe.arrived == says
    growing = [("set_memory_growth", gpus[0], True)] if place == GPU else []
    assert calls == [("enable_op_determinism",), *growing]


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch, calls: Calls) -> None:
    monkeypatch.setattr(device, "GPUS", [])
    with pytest.raises(InputError) as caught:
        device.select("gpu")
    assert str(caught.value) == (
        "params.yaml: device = 'gpu': TensorFlow sees no GPU; allowed here are auto and cpu; "
        "`pip install -e '.[gpu]'` installs what a GPU needs, TF_CPP_MIN_LOG_LEVEL=0 shows more"
    )


def test_tensorflow_works_with_as_many_threads_as_there_are_processors() -> None:
    count = usable()
    assert count == device.THREADS
    assert tf.config.threading.get_intra_op_parallelism_threads() == count
    assert tf.config.threading.get_inter_op_parallelism_threads() == count


@pytest.mark.parametrize("level", [None, "0", "3"])
def test_what_the_start_sets(monkeypatch: pytest.MonkeyPatch, level: str | None) -> None:
    """As if the program had just begun, on a machine with seven processors."""
    calls: Calls = []
    monkeypatch.setattr("stages.processors.usable", lambda: 7)
    for name in ("intra", "inter"):
        monkeypatch.setattr(
            tf.config.threading,
            f"set_{name}_op_parallelism_threads",
            lambda count, name=name: calls.append((name, count)),
        )
    monkeypatch.setattr(threadpoolctl, "threadpool_limits", lambda *given: calls.append(given))
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [f"a {kind}"])
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL")
    if level:
        monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", level)
    started = runpy.run_path(str(device.__file__))
    assert sorted(calls, key=str) == [("inter", 7), ("intra", 7), (7, "blas")]
    assert (started["THREADS"], started["GPUS"]) == (7, ["a GPU"])
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == (level or "2")
    assert gc.isenabled()
    assert gc.get_freeze_count() > 1000


def noise(end: str) -> None:
    """Write to standard error as a library of C++ does."""
    os.write(2, f"noise {end}\n".encode())


@pytest.mark.parametrize(("level", "heard"), [("0", "noise 1\n"), ("1", ""), ("2", "")])
def test_the_start_of_tensorflow_is_heard_on_request_only(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], level: str, heard: str
) -> None:
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", level)
    with device.quiet_start():
        noise("1")
    noise("2")
    with pytest.raises(KeyError), device.quiet_start():
        raise KeyError
    noise("3")
    assert capfd.readouterr().err == f"{heard}noise 2\nnoise 3\n"
    assert os.get_inheritable(2)
