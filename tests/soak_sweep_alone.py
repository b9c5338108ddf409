"""A sweep on this machine: stopped, its worker killed, one value wrong, started again."""

import json
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.project import Project, Run, environment_of_tests, run
from tests.test_resume import wait_for
from tests.test_sweep import RATE

SETTINGS = ["-S", f"{RATE}=choice(0.1,0.2,-1)", "-S", "recipes.airbench_small.epochs=4"]
COMMAND = ["python", "-m", "tools", "sweep", "train", *SETTINGS]
SWEEPS = Path(".dvc/tmp/sweeps")


def clones(project: Project) -> dict[Path, int]:
    """Return how many checkpoints each trial's clone holds."""
    folders = [folder for folder in (project.folder / SWEEPS).glob("*/*") if folder.is_dir()]
    return {folder: len([*folder.glob(".dvc/tmp/checkpoints/*.npz")]) for folder in folders}


def working(folder: Path) -> list[psutil.Process]:
    """Return the processes that work below a folder."""
    found = psutil.process_iter(["cwd", "cmdline"])
    return [process for process in found if (process.info["cwd"] or "").startswith(f"{folder}/")]


def trains_below(folder: Path) -> list[psutil.Process]:
    """Return the trainings that run below a folder, after a moment."""
    time.sleep(0.2)
    return [
        process for process in working(folder) if "stages.train" in (process.info["cmdline"] or ())
    ]


def start(project: Project) -> subprocess.Popen[str]:
    """Start the sweep, as a shell does in the foreground."""
    return subprocess.Popen(
        COMMAND,
        cwd=project.folder,
        env=environment_of_tests(PYTHONPATH=""),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


@pytest.fixture(scope="module")
def project(
    reproduced: Callable[[Path], Project], tmp_path_factory: pytest.TempPathFactory
) -> Project:
    """Return a project."""
    return reproduced(tmp_path_factory.mktemp("sweep"))


@pytest.fixture(scope="module")
def stopped(project: Project) -> Run:
    """Return how a sweep ended that Ctrl-C stopped while it trained."""
    with start(project) as process:
        wait_for(lambda: any(clones(project).values()), process)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate()
    return Run(COMMAND, process.returncode, output, errors)


@pytest.fixture(scope="module")
def finished(project: Project, stopped: Run) -> Run:
    """Return how the same sweep ended, started again, when a worker of it was killed."""
    with start(project) as process:
        wait_for(lambda: trains_below(project.folder / SWEEPS), process)
        # The training is a child of dvc, which is one of the worker.
        trains_below(project.folder / SWEEPS)[0].parents()[1].kill()
        output, errors = process.communicate()
    return Run(COMMAND, process.returncode, output, errors)


def test_interrupted(project: Project, stopped: Run) -> None:
    assert stopped.returncode == 130, stopped.stderr
    assert stopped.stderr.splitlines()[-1] == "error: interrupted by SIGINT"
    assert "Traceback" not in stopped.stderr
    assert not working(project.folder / SWEEPS)


def test_finished(project: Project, finished: Run) -> None:
    assert finished.returncode == 1, finished.stderr
    assert "Traceback" not in finished.stderr
    lines = finished.stdout.splitlines()
    done = dict(re.findall(rf"^(0\.\d+) +{RATE}=(\S+) ", finished.stdout, re.MULTILINE))
    assert {*done.values()} == {"0.1", "0.2"}
    (failed,) = (line for line in lines if line.startswith("failed"))
    assert f"{RATE}=-1 " in failed
    assert f": params.yaml: {RATE} = -1: should be greater than 0 (all of it: " in failed
    assert "2 done, 1 failed" in lines
    # The best one first; the command that brings it.
    table = lines[lines.index("2 done, 1 failed") + 1 :]
    assert table[0].split() == ["val_accuracy", "experiment", RATE]
    best, worse = (line.split() for line in table[1:3])
    assert float(best[0]) >= float(worse[0])
    assert table[3] == f"`dvc exp apply {best[1]}` brings the best one into the workspace"
    assert not working(project.folder / SWEEPS)


def test_trainings_went_on_where_they_were(project: Project, finished: Run) -> None:
    logs = [path.read_text() for path in (project.folder / SWEEPS).glob("*/*.log")]
    assert sum("going on after epoch " in log for log in logs) >= 1
    # What they left behind is one folder: that of the trial that failed.
    (left,) = clones(project)
    assert "-1" in (left.parent / f"{left.name}.log").read_text()


def test_each_is_an_experiment(project: Project, finished: Run) -> None:
    assert project.git("status", "--porcelain") == ""
    shown = json.loads(project.dvc("exp", "show", "--json"))
    (baseline,) = (entry for entry in shown if entry["rev"] != "workspace")
    found = {}
    for experiment in baseline["experiments"]:
        (revision,) = experiment["revs"]
        data = revision["data"]
        recipe = data["params"]["params.yaml"]["data"]["recipes"]["airbench_small"]
        assert recipe["epochs"] == 4
        rate = recipe["optimizer"]["kernel_learning_rate"]
        found[f"{rate}"] = data["metrics"]["metrics/train.json"]["data"]["val_accuracy"]
    printed = re.findall(rf"^(0\.\d+) +{RATE}=(\S+) ", finished.stdout, re.MULTILINE)
    assert found == {rate: float(value) for value, rate in printed}


def test_started_again(project: Project, finished: Run) -> None:
    """Only what failed is tried again."""
    again = run(COMMAND, project.folder, PYTHONPATH="")
    assert again.returncode == 1, again.stderr
    assert "1 failed" in again.stdout.splitlines()
    assert again.stdout.splitlines()[-4:] == finished.stdout.splitlines()[-4:]


def test_a_trial_that_has_run_is_not_run_alone(project: Project, finished: Run) -> None:
    result = run([*COMMAND, "--only", "1"], project.folder, PYTHONPATH="")
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() in finished.stdout.splitlines()


def test_importance_of_what_was_swept(project: Project, finished: Run) -> None:
    command = ["python", "-m", "tools", "importance", "--metric", "val_accuracy"]
    result = run(command, project.folder, PYTHONPATH="")
    assert result.returncode == 0, result.stderr
    assert RATE in result.stdout
    assert "2 experiments drawn in" in result.stdout
