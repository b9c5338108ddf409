"""Several devices of one machine, and several machines, train what one device does."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from tests.project import (
    environment_of_tests,
    run,
    run_stage,
    small_params,
    succeed,
    write_params,
)
from tests.trained_together import STEPS

# A worker that is gone is noticed within, seconds.
NOTICED = 15
# Of a training that is ended before.
EPOCHS = 60


Arrays = list[np.ndarray]
# By recipe, number of devices, and "another" for another way of rounding.
States = Callable[..., dict[int, Arrays]]


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> States:
    """Return a function that trains a recipe, and returns what it has come to by steps."""

    @cache
    def found(name: str, devices: int, *another: str) -> dict[int, Arrays]:
        folder = tmp_path_factory.mktemp("state")
        given = [name, str(folder), *another]
        result = run([sys.executable, "-m", "tests.trained_together", str(devices), *given], folder)
        assert result.returncode == 0, result.stderr
        arrays = {}
        for steps in STEPS:
            with np.load(folder / f"{steps}.npz", allow_pickle=False) as file:
                arrays[steps] = [file[f"arr_{number}"] for number in range(len(file.files))]
        return arrays

    return found


def distance(one: list[np.ndarray], other: list[np.ndarray]) -> float:
    """Return the largest relative distance of two states' arrays."""
    return max(
        float(np.linalg.norm(np.subtract(a, b, dtype=float)) / (np.linalg.norm(b) + 1e-9))
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize(("name", "devices"), [("airbench", 2), ("tutorial", 2), ("tutorial", 4)])
def test_more_devices_differ_by_rounding(name: str, devices: int, states: States) -> None:
    """About as much as two ways of rounding on one device do."""
    alone, together = states(name, 1), states(name, devices)
    otherwise = states(name, 1, "another")
    for steps in STEPS:
        floor = distance(otherwise[steps], alone[steps])
        assert 0 < distance(together[steps], alone[steps]) <= 3 * floor


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Worker:
    """One of several processes that train together, in a folder of its own."""

    def __init__(self, folder: Path, cluster: list[str], index: int):
        """Start it."""
        task = {"cluster": {"worker": cluster}, "task": {"type": "worker", "index": index}}
        environment = environment_of_tests(TF_CONFIG=json.dumps(task))
        # What the tests' own process has set.
        environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "stages.train"],
            cwd=folder,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def epochs(self, count: int) -> None:
        """Wait until so many epochs have ended."""
        assert self.process.stdout
        while count:
            line = self.process.stdout.readline()
            assert line, self.process.communicate()
            count -= line.startswith("epoch ")

    def ended(self, seconds: float) -> tuple[int, str]:
        """Wait for its end, and return its exit code and what it said on standard error."""
        _, errors = self.process.communicate(timeout=seconds)
        return self.process.returncode, errors


def start(folders: list[Path]) -> list[Worker]:
    """Start a worker in each folder; the first is the chief."""
    cluster = [f"127.0.0.1:{port}" for port in free_ports(len(folders))]
    return [Worker(folder, cluster, index) for index, folder in enumerate(folders)]


def files(folder: Path) -> dict[str, bytes]:
    """Return what a training has left in a folder, but for its logs."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for name in ("models", "metrics", "plots", ".dvc")
        for path in sorted((folder / name).rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def make_folder(arrays: Path, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that makes a folder with arrays, for a training of the tutorial."""

    def make(name: str, epochs: int, devices: int | None = None) -> Path:
        params = small_params(arrays) | {"recipe": "tutorial", "devices": devices}
        params["recipes"]["tutorial"] |= {"epochs": epochs, "keep": "best"}
        params["recipes"]["tutorial"]["network"] |= {"filters": [4, 4, 4], "dense_units": 8}
        folder = tmp_path / name
        folder.mkdir()
        (folder / "data").symlink_to(arrays / "data")
        write_params(folder, params)
        return folder

    return make


def test_two_processes_leave_the_bytes_of_two_devices(make_folder: Callable[..., Path]) -> None:
    """Only the chief writes."""
    together = make_folder("devices", 2, devices=2)
    succeed("train", together)
    folders = [make_folder(name, 2) for name in ("chief", "worker")]
    for worker in start(folders):
        assert worker.ended(100) == (0, "")
    assert files(folders[0]) == files(together)
    assert files(folders[1]) == {}


@pytest.mark.parametrize("gone", [0, 1], ids=["chief", "worker"])
def test_a_killed_worker_ends_all_and_the_next_start_goes_on(
    make_folder: Callable[..., Path], gone: int
) -> None:
    """With another number of workers, too: the chief alone."""
    folders = [make_folder(name, EPOCHS) for name in ("chief", "worker")]
    workers = start(folders)
    workers[0].epochs(2)
    workers[gone].process.kill()
    killed = time.monotonic()
    exit_code, errors = workers[1 - gone].ended(60)
    assert time.monotonic() - killed < NOTICED
    assert exit_code == 1
    assert errors == (
        f"error: worker {gone} is gone; once all workers are started again, the training goes on "
        "after its last finished epoch\n"
    )
    workers[gone].process.communicate()
    assert files(folders[1]) == {}
    history = folders[0] / "plots/history.csv"
    before = history.read_text().splitlines()
    assert 3 <= len(before) < 1 + EPOCHS
    result = run_stage("train", folders[0])
    assert result.returncode == 0, result.stderr
    assert f"going on after epoch {len(before) - 1}, from workspace-" in result.stdout
    after = history.read_text().splitlines()
    assert after[: len(before)] == before
    assert len(after) == 1 + EPOCHS
