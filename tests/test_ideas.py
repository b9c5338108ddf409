"""What a user tries first: one idea of docs/changing.md, appended to `dvc exp run`."""

import csv
import re
import shlex
import shutil
from pathlib import Path

import pytest
from dvc.utils.hydra import apply_overrides

from pipeline.common.params import read_params
from tests.project import ROOT, Project, Stage, folder_to_train

# What stands behind -S in the page's table.
IDEAS = [
    shlex.split(command)[1]
    for command in re.findall(
        r"^\|.*\| `(-S .*)` \|$", (ROOT / "docs/changing.md").read_text(), re.M
    )
]


def test_each_idea_of_the_page_is_another_allowed_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipes = set()
    for settings in ([], *([idea] for idea in IDEAS)):
        shutil.copy(ROOT / "params.yaml", "params.yaml")
        # As `dvc exp run -S` does it.
        apply_overrides("params.yaml", settings)
        recipes.add(read_params().recipes["tutorial"].model_dump_json())
    assert len(recipes) == len(IDEAS) + 1 > 16


def test_several_ideas_at_once_are_trained(
    arrays: Path, call_stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder_to_train(arrays, tmp_path, "tutorial"))
    ideas = [
        "+recipes.tutorial.optimizer={name: sgd, learning_rate: 0.02, nesterov: true}",
        "recipes.tutorial.schedule.name=cosine",
        "recipes.tutorial.augmentation={flip: random, noise: 0.03, jpeg_fraction: 0.25}",
        "recipes.tutorial.temperature_scaling=true",
    ]
    apply_overrides("params.yaml", ideas)
    run = call_stage("train", tmp_path)
    assert run.returncode == 0, run.stderr
    with open("plots/history.csv") as file:
        rates = [float(row["learning_rate"]) for row in csv.DictReader(file)]
    assert rates == pytest.approx([0.02, 0.01], 1e-4)
    (facts,) = Project(tmp_path).json("metrics/train.json")["training"]
    assert facts["temperature"] != 1
