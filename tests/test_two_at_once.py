"""Two `dvc repro` in one folder, and a training that outlives the `dvc` that started it."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Project, environment_of_tests, run, stages_run
from tests.test_resume import CHECKPOINTS, checkpoints, going_on, hashes

EPOCHS = 4


@pytest.fixture
def project(make_project: Callable[[Path], Project], tmp_path: Path) -> Project:
    """Give a project whose training takes some seconds."""
    project = make_project(tmp_path / "project")
    params = project.params()
    params["recipes"]["airbench_small"] |= {"epochs": EPOCHS, "batch_size": 10}
    project.write(params)
    return project


def start(project: Project) -> subprocess.Popen[str]:
    """Start a `dvc repro`; training that it starts may outlive it."""
    return subprocess.Popen(
        ["dvc", "repro"],
        cwd=project.folder,
        env=environment_of_tests(PYTHONPATH=""),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def wait_for(happened: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Wait until something happens while a process runs."""
    deadline = time.monotonic() + 120
    while not happened():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def repro(project: Project) -> Iterator[subprocess.Popen[str]]:
    """Give a `dvc repro` whose training has finished an epoch."""
    with start(project) as process:
        wait_for(lambda: checkpoints(project.folder), process)
        yield process
        process.kill()


def assert_same_as_uninterrupted(project: Project) -> None:
    """Assert that the outs are those of a training without interruption."""
    assert not checkpoints(project.folder)
    found = hashes(project.folder)
    assert project.repro("--force", "--single-item", "train") == {"train"}
    assert hashes(project.folder) == found


def test_a_second_repro_is_refused(project: Project, repro: subprocess.Popen[str]) -> None:
    second = run(["dvc", "repro"], project.folder, PYTHONPATH="")
    assert second.returncode == 255
    assert f"is busy, it is being blocked by:\n  (PID {repro.pid})" in second.stderr
    assert "Traceback" not in second.stderr
    output, _ = repro.communicate()
    assert repro.returncode == 0, output
    assert project.dvc("status") == "Data and pipelines are up to date.\n"
    assert_same_as_uninterrupted(project)


def test_the_next_repro_takes_over_from_an_abandoned_training(
    project: Project, repro: subprocess.Popen[str]
) -> None:
    owner = project.folder / CHECKPOINTS / "workspace.owner"
    training = owner.read_text()
    os.kill(int(training), signal.SIGSTOP)
    repro.kill()
    repro.wait()
    with start(project) as second:
        wait_for(lambda: owner.read_text() != training, second)
        os.kill(int(training), signal.SIGCONT)
        first_output, _ = repro.communicate()
        second_output, _ = second.communicate()
    assert first_output.splitlines()[-1] == (
        "error: a newer training has begun in this folder and takes its place"
    )
    assert second.returncode == 0, second_output
    (epoch,) = going_on(second_output)
    assert 1 <= epoch < EPOCHS
    assert_same_as_uninterrupted(project)


def test_what_an_abandoned_training_finished_is_not_trained_again(
    project: Project, repro: subprocess.Popen[str]
) -> None:
    repro.kill()
    output, _ = repro.communicate()
    assert "trained for" in output
    second = project.dvc("repro")
    assert "train" in stages_run(second)
    assert [*going_on(second)] == [EPOCHS]
    assert_same_as_uninterrupted(project)
