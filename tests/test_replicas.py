"""Several devices of one machine, and several machines, train what one device does."""

import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.project import run, succeed, write_params
from tests.trained_together import RECIPES, STEPS, WAYS
from tests.workers import files, lose_a_worker, start, training_folder


def state(file: Path) -> list[np.ndarray]:
    """Return the arrays in a file."""
    with np.load(file, allow_pickle=False) as arrays:
        return [arrays[f"arr_{number}"] for number in range(len(arrays.files))]


def distance(one: Path, other: Path) -> float:
    """Return the largest relative distance of the arrays in two files."""
    return max(
        float(np.linalg.norm(np.subtract(a, b, dtype=float)) / (np.linalg.norm(b) + 1e-9))
        for a, b in zip(state(one), state(other), strict=True)
    )


@pytest.mark.parametrize("name", RECIPES)
def test_more_devices_differ_by_rounding(name: str, tmp_path: Path) -> None:
    """About as much as two ways of rounding on one device do."""
    result = run([sys.executable, "-m", "tests.trained_together", name, str(tmp_path)], tmp_path)
    assert result.returncode == 0, result.stderr
    for steps in STEPS:
        alone, another, *together = (tmp_path / f"{way}{steps}.npz" for way in WAYS)
        floor = distance(another, alone)
        distances = [distance(file, alone) for file in together]
        print(f"{steps} steps: rounding {floor:.1e}, several devices {distances}")
        assert min(distances) > 0
        assert max(distances) <= 3 * floor


def test_two_processes_leave_the_bytes_of_two_devices(arrays: Path, tmp_path: Path) -> None:
    """Only the chief writes."""
    together = training_folder(arrays, tmp_path / "devices", 2, devices=2)
    succeed("train", together)
    folders = [training_folder(arrays, tmp_path / name, 2) for name in ("chief", "worker")]
    for worker in start(folders):
        assert worker.ended(100) == (0, "")
    assert files(folders[0]) == files(together)
    assert files(folders[1]) == {}


def test_a_worker_with_other_parameters_is_refused(arrays: Path, tmp_path: Path) -> None:
    """It would draw other images than the chief leaves to it."""
    folders = [training_folder(arrays, tmp_path / name, 1) for name in ("chief", "worker")]
    params = yaml.safe_load((folders[1] / "params.yaml").read_text())
    write_params(folders[1], params | {"seed": 1})
    chief, worker = start(folders)
    exit_code, errors = worker.ended(60)
    assert exit_code == 2
    assert errors.startswith("error: params.yaml: the parameters, data or code differ from those")
    assert errors.count("\n") == 1
    exit_code, errors = chief.ended(60)
    assert exit_code == 1
    assert errors.startswith("error: ")
    assert set(files(folders[0])) == {".dvc/tmp/checkpoints/workspace.owner"}
    assert files(folders[1]) == {}


def test_a_killed_chief_ends_all_and_the_next_start_goes_on(arrays: Path, tmp_path: Path) -> None:
    """With another number of workers, too. See soak_replicas.py for a killed worker."""
    lose_a_worker(arrays, tmp_path, 0, signal.SIGKILL)
