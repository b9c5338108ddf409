"""What a user tries first: one idea of docs/changing.md, appended to `dvc exp run`."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from dvc.utils.hydra import apply_overrides

from pipeline.common.params import read_params
from tests.project import ROOT, Project, Stage, folder_to_train, printed


@pytest.mark.usefixtures("here")
def test_each_idea_of_the_page_is_another_allowed_recipe() -> None:
    page = (ROOT / "docs/changing.md").read_text()
    # What stands behind -S in its table.
    found = re.findall(r"^\|.*\| `-S (.*)` \|$", page, re.M)
    recipes = set()
    for settings in ([], *map(shlex.split, found)):
        shutil.copy(ROOT / "params.yaml", "params.yaml")
        # As `dvc exp run -S` does it.
        apply_overrides("params.yaml", settings)
        recipes.add(read_params().recipes["tutorial"].model_dump_json())
    assert len(recipes) == len(found) + 1 > 16


def test_several_ideas_at_once_are_trained(arrays: Path, call_stage: Stage, here: Path) -> None:
    folder_to_train(arrays, here, "tutorial")
    ideas = [
        "+recipes.tutorial.optimizer={name: sgd, learning_rate: 0.02, nesterov: true}",
        "recipes.tutorial.schedule.name=cosine",
        "recipes.tutorial.augmentation={flip: random, noise: 0.03, jpeg_fraction: 0.25}",
        "recipes.tutorial.temperature_scaling=true",
    ]
    apply_overrides("params.yaml", ideas)
    printed(call_stage("train", here))
    (facts,) = Project(here).json("metrics/train.json")["training"]
    assert facts["temperature"] != 1
