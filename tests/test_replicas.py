"""Several devices of one machine, and several machines, train what one device does."""

import signal
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from tests.project import run, succeed
from tests.trained_together import STEPS
from tests.workers import files, lose_a_worker, start, training_folder

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


def test_two_processes_leave_the_bytes_of_two_devices(arrays: Path, tmp_path: Path) -> None:
    """Only the chief writes."""
    together = training_folder(arrays, tmp_path / "devices", 2, devices=2)
    succeed("train", together)
    folders = [training_folder(arrays, tmp_path / name, 2) for name in ("chief", "worker")]
    for worker in start(folders):
        assert worker.ended(100) == (0, "")
    assert files(folders[0]) == files(together)
    assert files(folders[1]) == {}


@pytest.mark.parametrize("gone", [0, 1], ids=["chief", "worker"])
def test_a_killed_worker_ends_all_and_the_next_start_goes_on(
    arrays: Path, tmp_path: Path, gone: int
) -> None:
    """With another number of workers, too."""
    lose_a_worker(arrays, tmp_path, gone, signal.SIGKILL)
