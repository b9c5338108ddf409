"""Trainings that differ by the seed alone, in a project whose training is a formula."""

import json
import re
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from tests.project import ROOT, Project, Stage, assert_refused, printed, run, wait_for

PARAMS = "seed: 0\nrate: 1\nrecipe: small\nrecipes: {small: {epochs: 1}, other: {epochs: 9}}\n"
PIPELINE = """
stages:
  all:
    cmd: python train.py
    params: [seed, rate]
    outs: [plots/predictions.csv: {cache: false}]
    metrics: [metrics/train.json: {cache: false}, metrics/evaluate.json: {cache: false}]
"""
# Right are 300 of 500 images with a rate of 1 and 305 with 1.05, a few more for each seed: of three
# seeds, the interval of 95 % excludes zero, and that of 97.5 % does not.
TRAINING = """
import json
from pathlib import Path
import yaml
params = yaml.safe_load(Path("params.yaml").read_text())
right = 200 + 100 * params["rate"] + params["seed"]
for folder in ("metrics", "plots"):
    Path(folder).mkdir(exist_ok=True)
rows = [f"{i},cat,{'cat' if (i * 7 + params['seed']) % 500 < right else 'dog'}" for i in range(500)]
Path("plots/predictions.csv").write_text("\\n".join(["index,actual,predicted", *rows]))
Path("metrics/train.json").write_text(json.dumps({"val_accuracy": right / 1000}))
Path("metrics/evaluate.json").write_text(json.dumps({"accuracy": right / 500}))
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("seeds"))
    files = {"params.yaml": PARAMS, "dvc.yaml": PIPELINE, "train.py": TRAINING}
    for name, text in files.items():
        (project.folder / name).write_text(text)
    project.init()
    project.dvc("init", "--quiet")
    project.dvc("repro")
    project.commit("Start")
    return project


UNTIL_SURE = ["compare", "rate=1", "rate=1.05", "--until-sure"]


@pytest.fixture(scope="module")
def unsure(project: Project) -> str:
    """Return what a comparison printed that trained as many seeds as allowed."""
    command = ["python", "-m", f"tools.{UNTIL_SURE[0]}", *UNTIL_SURE[1:], "--limit=4"]
    return printed(run(command, project.folder))


def test_no_more_seeds_than_the_limit(unsure: str) -> None:
    """Each of two looks takes half of the 5 %."""
    assert re.findall("^sweep-.*: (.) trials of all stages", unsure, re.M) == ["6", "2"]
    assert unsure.count(" 97.5 % interval -0.0") == 2
    assert unsure.endswith("not sure after 4 seeds each\n")


@pytest.mark.usefixtures("unsure")
def test_it_ends_as_soon_as_it_is_sure(
    project: Project, call_stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the sweep has run is not run again; a single look takes all of the 5 %."""
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}")
    command, *values = UNTIL_SURE
    expected = {
        ("--limit=3",): "rate=1.05 is better by 1.00 points, 95 % interval +0.10 to +1.90, "
        "3 seeds each",
        ("--limit=4", "--points=2.1"): "the difference is less than 2.1 points",
    }
    for options, last in expected.items():
        lines = printed(call_stage(command, project.folder, *values, *options)).splitlines()
        assert sum(" 6 trials of all stages" in line for line in lines) == 1
        assert lines[-1] == last


@pytest.mark.usefixtures("unsure")
def test_seeds_are_one_row(project: Project, call_stage: Stage) -> None:
    shown = call_stage("experiments", project.folder).stdout.splitlines()
    names = ["n", "val_accuracy", "lowest", "highest", "accuracy", "rate"]
    assert [row.split()[1:] for row in shown] == [
        names,
        ["4", "0.3065", "0.3050", "0.3080", "0.6130", "1.05"],
        ["4", "0.3015", "0.3000", "0.3030", "0.6030", "1"],
    ]
    rows = json.loads(call_stage("experiments", project.folder, "--json").stdout)
    assert [row["accuracy"] for row in rows] == [0.613, 0.603]
    table = call_stage("experiments", project.folder, "--csv").stdout
    assert table.startswith(",".join(["experiment", *names]))


@pytest.mark.usefixtures("unsure")
def test_a_value_stands_for_its_experiments(project: Project, call_stage: Stage) -> None:
    compare = partial(call_stage, "compare", project.folder)
    first, second, last = compare("rate=1.05", "rate=1").stdout.splitlines()
    assert first == "rate=1.05  61.30%, 4 seeds, 61.00% to 61.60%"
    assert second == "rate=1     60.30%, 4 seeds, 60.00% to 60.60%"
    assert last.startswith("rate=1.05 is better by 1.00 points, 95 % interval -1.91 to -0.09")
    wrong = {
        "rate=3": "`dvc exp run -S rate=3`",
        "size=1": "no such parameter",
        "rate=[": "not valid YAML",
        "rate=true": "no tested training",
        "seed=1": "several seeds",
    }
    for text, says in wrong.items():
        assert_refused(compare(text, "rate=1"), text, says)
    for text in ("rate=1.0", "recipe=small"):
        refused = compare("rate=1", text, "--until-sure")
        assert_refused(refused, "--until-sure: ", "two values of the same parameter")
    for option, found in {"--limit": "2", "--points": "-1.0"}.items():
        asked = "rate=1", "rate=1.05", f"{option}={found}"
        refused = call_stage("compare", project.folder, *asked)
        assert_refused(refused, f"{option}: allowed with --until-sure only")
        refused = call_stage("compare", project.folder, *asked, "--until-sure")
        assert_refused(refused, f"{option} {found}: allowed is ")


def test_a_running_trial_is_listed(project: Project, call_stage: Stage) -> None:
    """While its clone is in use; what a stopped sweep left is not."""
    clone = project.folder / ".dvc/tmp/sweeps/sweep-abc/sweep-abc-1"
    (clone / "metrics").mkdir(parents=True)
    (clone / "params.yaml").write_text(PARAMS.replace("rate: 1", "rate: 7"))
    (clone / "metrics/train.json").write_text('{"val_accuracy": 0.9, "epochs_left": 4}')
    assert "sweep-abc-1" not in call_stage("experiments", project.folder).stdout
    with FileLock(f"{clone}.lock"):
        shown = call_stage("experiments", project.folder).stdout.splitlines()
    assert shown[1].split()[:3] == ["sweep-abc-1", "1", "0.9000"]
    assert shown[1].endswith(" 7 4 left")


def test_what_belongs_to_another_training_is_no_result(
    project: Project, call_stage: Stage, tmp_path: Path
) -> None:
    """A value that was committed before it was run, unfinished epochs, a failed experiment."""
    copy = Project(shutil.copytree(project.folder, tmp_path / "copy", symlinks=True))
    (copy.folder / "params.yaml").write_text(PARAMS.replace("rate: 1", "rate: 5"))
    (row,) = rows_of(call_stage, copy, "workspace")
    assert row["val_accuracy"] is row["accuracy"] is None
    copy.git("commit", "--quiet", "--all", "--message", "Not run yet")
    (row,) = rows_of(call_stage, copy, "main")
    assert row["val_accuracy"] is row["accuracy"] is None
    assert_refused(call_stage("compare", copy.folder, "HEAD~1", "HEAD"), "of HEAD: missing")
    copy.dvc("exp", "run", "--queue", "--name", "wrong", "-S", "rate=none")
    run(["dvc", "queue", "start"], copy.folder)
    wait_for(lambda: rows_of(call_stage, copy, "wrong")[0]["state"] == "failed")
    assert rows_of(call_stage, copy, "wrong")[0]["accuracy"] is None
    copy.git("checkout", "--quiet", "HEAD~1")
    (copy.folder / "metrics/train.json").write_text('{"val_accuracy": 0.9, "epochs_left": 2}')
    (row,) = rows_of(call_stage, copy, "workspace")
    assert (row["val_accuracy"], row["accuracy"], row["state"]) == (0.9, None, "stopped")
    # Nothing runs, so it ends.
    assert "stopped" in call_stage("experiments", copy.folder, "--live").stdout


def rows_of(call_stage: Stage, project: Project, name: str) -> list[dict[str, Any]]:
    rows = json.loads(call_stage("experiments", project.folder, "--json").stdout)
    return [row for row in rows if row["experiment"] == name]
