"""Two `dvc repro` in one folder, and a training that outlives the `dvc` that started it."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.project import SLOW, SLOW_EPOCHS, Project, environment_of_tests, run, run_stage
from tests.test_resume import CHECKPOINTS, TRAIN, checkpoints, going_on, hashes, wait_for

Training = subprocess.Popen[str]


@pytest.fixture
def folder(slow: Path, tmp_path: Path) -> Path:
    """Return a folder in which the same can be trained as in `slow`."""
    (tmp_path / "data").symlink_to(slow / "data")
    shutil.copy(slow / "params.yaml", tmp_path)
    return tmp_path


def start(command: tuple[str, ...], folder: Path, **environment: str) -> Training:
    """Start a training, which may outlive the command."""
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment_of_tests(**environment),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def wait_for_checkpoint(folder: Path, process: Training) -> int:
    """Wait until an epoch is finished, and return the number of the process that trains."""
    # The history is what an epoch writes last.
    history = folder / "plots/history.csv"
    wait_for(lambda: checkpoints(folder) and history.exists(), process)
    return int((folder / CHECKPOINTS / "workspace.owner").read_text())


@pytest.fixture
def abandoned(folder: Path) -> Iterator[tuple[Training, int]]:
    """Return what started a training and was killed, and the training's number, which waits."""
    with start(("sh", "-c", f"'{TRAIN[0]}' -m stages.train; exit"), folder) as process:
        training = wait_for_checkpoint(folder, process)
        os.kill(training, signal.SIGSTOP)
        assert process.pid != training
        process.kill()
        process.wait()
        yield process, training


def test_the_next_training_takes_over_from_an_abandoned_one(
    folder: Path, slow: Path, abandoned: tuple[Training, int]
) -> None:
    process, training = abandoned
    result = run_stage("train", folder)
    os.kill(training, signal.SIGCONT)
    output, _ = process.communicate()  # Until all that it started have ended.
    assert output.splitlines()[-1] == (
        "error: a newer training has begun in this folder and takes its place"
    )
    assert result.returncode == 0, result.stderr
    (epoch,) = going_on(result.stdout)
    assert 1 <= epoch < SLOW_EPOCHS
    assert hashes(folder) == hashes(slow)
    assert not checkpoints(folder)


def test_what_an_abandoned_training_finished_is_not_trained_again(
    folder: Path, slow: Path, abandoned: tuple[Training, int]
) -> None:
    process, training = abandoned
    os.kill(training, signal.SIGCONT)
    output, _ = process.communicate()
    assert "trained for" in output
    result = run_stage("train", folder)
    assert [*going_on(result.stdout)] == [SLOW_EPOCHS]
    assert hashes(folder) == hashes(slow)
    assert not checkpoints(folder)


def test_a_second_repro_is_refused(reproduced: Callable[[Path], Project], tmp_path: Path) -> None:
    project = reproduced(tmp_path / "project")
    params = project.params()
    params["recipe"] = "tutorial"
    params["recipes"]["tutorial"] |= SLOW
    project.write(params)
    with start(("dvc", "repro", "train"), project.folder, PYTHONPATH="") as first:
        training = wait_for_checkpoint(project.folder, first)
        os.kill(training, signal.SIGSTOP)
        second = run(["dvc", "repro", "train"], project.folder, PYTHONPATH="")
        os.kill(training, signal.SIGCONT)
        output, _ = first.communicate()
    assert second.returncode == 255
    assert f"is busy, it is being blocked by:\n  (PID {first.pid})" in second.stderr
    assert "Traceback" not in second.stderr
    assert first.returncode == 0, output
    assert project.dvc("status", "train") == "Data and pipelines are up to date.\n"
