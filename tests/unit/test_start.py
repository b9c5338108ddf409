"""How TensorFlow starts: how many threads it takes, and what is heard of it."""

import gc
import importlib
import importlib.util
import json
import logging
import os
import runpy
import subprocess
import sys
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


def test_packages_are_hidden_for_a_while() -> None:
    """Those imported before stay, and after an error the others are found again, too."""
    assert "json" in sys.modules
    sys.modules.pop("this", None)
    with pytest.raises(KeyError), start.without(["json", "this"]):  # noqa: PT012
        with pytest.raises(ModuleNotFoundError, match="this"):
            importlib.import_module("this")
        assert importlib.import_module("json") is json
        raise KeyError
    assert "this" not in sys.modules
    assert importlib.util.find_spec("this")


@pytest.mark.slow
def test_keras_starts_without_what_is_not_used() -> None:
    """Afterwards these packages can be imported, and Keras trains on NumPy's arrays."""
    program = """
import sys
from stages import start
assert not {"matplotlib", "pandas", "sklearn"} & sys.modules.keys()
import numpy as np
model = start.keras.Sequential([start.keras.layers.Dense(1)])
model.compile(loss="mse")
model.fit(np.ones((4, 2)), np.ones(4), verbose=0)
import matplotlib.pyplot, pandas, sklearn.metrics
assert model.predict(np.ones((4, 2)), verbose=0).shape == (4, 1)
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
