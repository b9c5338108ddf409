"""How TensorFlow starts: how many threads it takes, and what is heard of it."""

import gc
import logging
import os
import runpy
from typing import Any

import pytest
import threadpoolctl

from stages import start  # First, since TensorFlow reads what it sets.
from stages.processors import usable

import tensorflow as tf  # isort: skip

Calls = list[tuple[Any, ...]]


def test_tensorflow_works_with_as_many_threads_as_there_are_processors() -> None:
    count = usable()
    assert count == start.THREADS
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
    monkeypatch.setattr(tf.get_logger(), "level", logging.WARNING)
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL")
    if level:
        monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", level)
    started = runpy.run_path(str(start.__file__))
    assert sorted(calls, key=str) == [("inter", 7), ("intra", 7), (7, "blas")]
    assert (started["THREADS"], started["GPUS"]) == (7, ["a GPU"])
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == (level or "2")
    assert tf.get_logger().level == (logging.WARNING if level == "0" else logging.ERROR)
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
    with start.quiet_start():
        noise("1")
    noise("2")
    with pytest.raises(KeyError), start.quiet_start():
        raise KeyError
    noise("3")
    assert capfd.readouterr().err == f"{heard}noise 2\nnoise 3\n"
    assert os.get_inheritable(2)
