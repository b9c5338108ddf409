"""A sweep on this machine, one value of which is wrong. See soak_sweep_alone.py for what fails."""

import json
from pathlib import Path

from tests.project import Edited, default_params, get, run

RATE = "recipes.airbench_small.optimizer.kernel_learning_rate"
EPOCHS = "recipes.airbench_small.epochs"
COMMAND = ["python", "-m", "tools", "sweep", "train", "-S", f"{RATE}=choice(0.16,-1)"]
COMMAND += ["-S", f"{EPOCHS}=1"]


def test_sweep(edited: Edited, tmp_path: Path) -> None:
    """The trial that succeeds takes its training from the run cache; the README's trains."""
    assert get(default_params(), RATE) == 0.16
    project = edited(tmp_path, EPOCHS, 1)
    project.git("restore", ".")
    result = run(COMMAND, project.folder, PYTHONPATH="")
    assert result.returncode == 1, result.stderr
    assert "Traceback" not in result.stderr
    first, second, *rest = result.stdout.splitlines()
    failed, done = sorted((first, second), key=lambda line: line.startswith("0."))
    assert failed.startswith(f"failed    {RATE}=-1 {EPOCHS}=1  (sweep-")
    assert f": params.yaml: {RATE} = -1: should be greater than 0 (all of it: " in failed
    value, *overrides, experiment = done.split()
    assert overrides == [f"{RATE}=0.16", f"{EPOCHS}=1"]
    name = experiment.strip("()")
    counted, head, best, hint = rest
    assert counted == "1 done, 1 failed"
    assert head.split() == ["val_accuracy", "experiment", RATE]
    assert float(best.split()[0]) == float(value)
    assert best.split()[1:] == [name, "0.16"]
    assert hint == f"`dvc exp apply {name}` brings the best one into the workspace"

    # An experiment as DVC's own; the workspace is as it was.
    assert project.git("status", "--porcelain") == ""
    shown = json.loads(project.dvc("exp", "show", "--json"))
    (baseline,) = (entry for entry in shown if entry["rev"] != "workspace")
    (entry,) = baseline["experiments"]
    (revision,) = entry["revs"]
    data = revision["data"]
    recipe = data["params"]["params.yaml"]["data"]["recipes"]["airbench_small"]
    assert recipe["epochs"] == 1
    assert data["metrics"]["metrics/train.json"]["data"]["val_accuracy"] == float(value)

    # What has run is not run again.
    alone = run([*COMMAND, "--only", "0"], project.folder, PYTHONPATH="")
    assert (alone.returncode, alone.stdout) == (0, f"{done}\n"), alone.stderr
