"""Training killed again and again until it ends: the same bytes as without. `make soak`."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.project import MakeProject, Project, start, wait_for, write_params
from tests.test_resume import checkpoints, going_on, hashes

KILLS = 20
EPOCHS = 100
IN_WRITING = ".dvc/tmp/checkpoints/.unfinished-*"


def assert_same_without_interruption(project: Project) -> None:
    """Train once more without interruption, and assert that the outs stay the same."""
    found = hashes(project.folder)
    assert project.repro("--force", "--single-item", "train") == {"train"}
    assert hashes(project.folder) == found


def kill_after(project: Project, seconds: float) -> bool:
    """Kill all of a `dvc repro` some time after its start; say whether it still ran."""
    process = start(["dvc", "repro"], project.folder, PYTHONPATH="")
    time.sleep(seconds)
    running = process.poll() is None
    if running:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return running


def kill_in_writing(project: Project) -> float:
    """Kill all of a `dvc repro` while it writes its first checkpoint, after so many seconds."""
    process = start(["dvc", "repro"], project.folder, PYTHONPATH="")
    began = time.monotonic()
    while not [*project.folder.glob(IN_WRITING)]:
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    # What was being written is still there, so the moment was the right one.
    assert [*project.folder.glob(IN_WRITING)]
    return time.monotonic() - began


@pytest.mark.parametrize("recipe", ["airbench_small", "tutorial"])
def test_killed_twenty_times(make_project: MakeProject, tmp_path: Path, recipe: str) -> None:
    project = make_project(tmp_path)
    params = project.params() | {"recipe": recipe}
    params["recipes"][recipe] |= {"epochs": EPOCHS, "batch_size": 5}
    write_params(project.folder, params)
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
def test_killed_experiment(make_project: MakeProject, tmp_path: Path, where: str) -> None:
    project = make_project(tmp_path)
    recipe = "recipes.airbench_small"
    project.edit({f"{recipe}.epochs": 10, f"{recipe}.batch_size": 5})
    project.repro("preprocess")
    project.commit("Arrays")

    if where == "queue":
        project.dvc("exp", "run", "--queue", "--name=a")
        # The worker that this leaves behind would keep a pipe open.
        start(["dvc", "queue", "start"], project.folder, PYTHONPATH="").wait()
        wait_for(lambda: checkpoints(project.folder))
        project.dvc("queue", "kill", "--force", "a")
        wait_for(lambda: "Running" not in project.dvc("queue", "status"))
        project.dvc("exp", "run", "--queue", "--name=b")
        start(["dvc", "queue", "start"], project.folder, PYTHONPATH="").wait()
        wait_for(lambda: "Success" in project.dvc("queue", "status"))
        output = project.dvc("queue", "logs", "b")
    else:
        command = ["exp", "run", *(["--temp"] if where == "temp" else [])]
        process = start(["dvc", *command, "--name=a"], project.folder, PYTHONPATH="")
        wait_for(lambda: checkpoints(project.folder))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        output = project.dvc(*command, "--name=b")
    (epoch,) = going_on(output)
    assert 1 <= epoch < 10
    assert not checkpoints(project.folder)
    project.dvc("exp", "apply", "b")
    assert_same_without_interruption(project)
