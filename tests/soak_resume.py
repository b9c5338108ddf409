"""Training killed again and again until it ends: the same bytes as without. `make soak`."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.project import Project, environment_of_tests
from tests.test_resume import (
    assert_same_without_interruption,
    checkpoints,
    going_on,
    hashes,
)

KILLS = 20
EPOCHS = 100
IN_WRITING = ".dvc/tmp/checkpoints/.unfinished-*"


def start(project: Project, *command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["dvc", *command],
        cwd=project.folder,
        env=environment_of_tests(PYTHONPATH=""),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def wait_for(happened: Callable[[], object]) -> None:
    deadline = time.monotonic() + 300
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def kill_after(project: Project, seconds: float) -> bool:
    """Kill all of a `dvc repro` some time after its start; say whether it still ran."""
    process = start(project, "repro")
    time.sleep(seconds)
    running = process.poll() is None
    if running:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return running


def kill_in_writing(project: Project) -> float:
    """Kill all of a `dvc repro` while it writes its first checkpoint, after so many seconds."""
    process = start(project, "repro")
    began = time.monotonic()
    while not [*project.folder.glob(IN_WRITING)]:
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    # What was being written is still there, so the moment was the right one.
    assert [*project.folder.glob(IN_WRITING)]
    return time.monotonic() - began


@pytest.mark.parametrize("recipe", ["airbench_small", "tutorial"])
def test_killed_twenty_times(
    make_project: Callable[[Path], Project], tmp_path: Path, recipe: str
) -> None:
    project = make_project(tmp_path)
    params = project.params()
    params["recipe"] = recipe
    params["recipes"][recipe] |= {"epochs": EPOCHS, "batch_size": 5}
    project.write(params)
    chance = random.Random(recipe)

    project.repro("preprocess")
    first = kill_in_writing(project)
    for _ in range(KILLS):
        # From DVC's own start over TensorFlow's to some epochs later.
        seconds = chance.uniform(0.5, 3 * first)
        assert kill_after(project, seconds)
        print(f"{recipe}: killed after {seconds:.1f} s")
    (epoch,) = going_on(project.dvc("repro"))
    print(f"{recipe}: went on after epoch {epoch} of {EPOCHS}")
    assert epoch < EPOCHS
    print(f"{recipe}: {hashes(project.folder)}")
    assert_same_without_interruption(project)


@pytest.mark.parametrize("where", ["workspace", "temp", "queue"])
def test_killed_experiment(
    make_project: Callable[[Path], Project], tmp_path: Path, where: str
) -> None:
    project = make_project(tmp_path)
    params = project.params()
    params["recipes"]["airbench_small"] |= {"epochs": 10, "batch_size": 5}
    project.write(params)
    project.repro("preprocess")
    project.commit("Arrays")

    if where == "queue":
        project.dvc("exp", "run", "--queue", "--name=a")
        # The worker that this leaves behind would keep a pipe open.
        start(project, "queue", "start").wait()
        wait_for(lambda: checkpoints(project.folder))
        project.dvc("queue", "kill", "--force", "a")
        wait_for(lambda: "Running" not in project.dvc("queue", "status"))
        project.dvc("exp", "run", "--queue", "--name=b")
        start(project, "queue", "start").wait()
        wait_for(lambda: "Success" in project.dvc("queue", "status"))
        output = project.dvc("queue", "logs", "b")
    else:
        command = ["exp", "run", *(["--temp"] if where == "temp" else [])]
        process = start(project, *command, "--name=a")
        wait_for(lambda: checkpoints(project.folder))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        output = project.dvc(*command, "--name=b")
    (epoch,) = going_on(output)
    assert 1 <= epoch < 10
    assert not checkpoints(project.folder)
    project.dvc("exp", "apply", "b")
    assert_same_without_interruption(project)
