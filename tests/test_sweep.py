"""A sweep on this machine, one value of which is wrong. See soak_sweep_alone.py for what fails."""

import json
from collections.abc import Callable
from pathlib import Path

from tests.project import Project, run

RATE = "recipes.airbench_small.optimizer.kernel_learning_rate"
COMMAND = ["python", "-m", "tools", "sweep", "train", "-S", f"{RATE}=choice(0.3,-1)"]


def test_sweep(reproduced: Callable[[Path], Project], tmp_path: Path) -> None:
    project = reproduced(tmp_path)
    result = run(COMMAND, project.folder, PYTHONPATH="")
    assert result.returncode == 1, result.stderr
    assert "Traceback" not in result.stderr
    first, second, *rest = result.stdout.splitlines()
    failed, done = sorted((first, second), key=lambda line: line.startswith("0."))
    assert failed.startswith(f"failed    {RATE}=-1  (sweep-")
    assert f": params.yaml: {RATE} = -1: should be greater than 0 (all of it: " in failed
    value, override, experiment = done.split()
    assert override == f"{RATE}=0.3"
    name = experiment.strip("()")
    counted, head, best, hint = rest
    assert counted == "1 done, 1 failed"
    assert head.split() == ["val_accuracy", "experiment", RATE]
    assert float(best.split()[0]) == float(value)
    assert best.split()[1:] == [name, "0.3"]
    assert hint == f"`dvc exp apply {name}` brings the best one into the workspace"

    # An experiment as DVC's own; the workspace is as it was.
    assert project.git("status", "--porcelain") == ""
    shown = json.loads(project.dvc("exp", "show", "--json"))
    (baseline,) = (entry for entry in shown if entry["rev"] != "workspace")
    (entry,) = baseline["experiments"]
    (revision,) = entry["revs"]
    data = revision["data"]
    recipe = data["params"]["params.yaml"]["data"]["recipes"]["airbench_small"]
    assert recipe["optimizer"]["kernel_learning_rate"] == 0.3
    assert data["metrics"]["metrics/train.json"]["data"]["val_accuracy"] == float(value)

    # What has run is not run again.
    alone = run([*COMMAND, "--only", "0"], project.folder, PYTHONPATH="")
    assert (alone.returncode, alone.stdout) == (0, f"{done}\n"), alone.stderr
