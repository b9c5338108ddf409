"""What the comparisons count and train on, their turns, and the recording of runs."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import psutil
import pytest
from dvc.utils.hydra import apply_overrides

from benchmarks.__main__ import PEER_EPOCHS, Peer, compare_trainings
from benchmarks.ladder import LADDER, settings
from benchmarks.turns import Program, in_turns, ours, training_images
from pipeline.common.params import read_params
from pipeline.common.shell import UserError
from pipeline.data.arrays import load
from tests.project import ROOT, MakeProject


@pytest.fixture(autouse=True)
def measuring(arrays: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure few images."""
    monkeypatch.chdir(arrays)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def recipe_of(name: str) -> dict[str, Any]:
    return read_params().recipes[name].model_dump()


def test_what_is_missing_of_the_training_images_comes_from_the_validation_images() -> None:
    # In the order in which they were published, before the last were taken for validation.
    parts = zip(load("train"), load("validation"), strict=True)
    published = [np.concatenate(part) for part in parts]
    assert len(published[1]) == 500
    for count in (None, 10, 400, 450):
        for found, expected in zip(training_images(count), published, strict=True):
            np.testing.assert_array_equal(found, expected[:count])


def test_steps_and_trainings_are_measured() -> None:
    recipe = recipe_of("airbench_small")
    steps, training = in_turns(
        ours("steps", recipe, 2, count=20, seconds=0.1),
        ours("train", recipe, recipe["epochs"], seed=0),
    )
    # Twenty batches would have 2,000.
    assert [row["images"] for row in steps] == [500, 500]
    assert [(row["epoch"], row["images"]) for row in training] == [(1, 500), (2, 500)]
    assert 0 < training[0]["seconds"] < training[1]["seconds"]
    assert set(training[1]) - set(training[0]) == {"tta"}


def test_both_sides_train_on_the_same_images_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, peer = recipe_of("airbench94"), Peer("2.0", "eager", "float32", 250)
    last = {"images": 500, "seconds": 2.0, "tta": 0.9}
    train = Mock(return_value=[[last | {"seconds": 3.0}], [last], [last]])
    monkeypatch.setattr("benchmarks.__main__.in_turns", train)
    assert [row[3] for row in compare_trainings(recipe, peer)] == ["1.50", "", "1.50", ""]
    shorter = recipe | {"epochs": PEER_EPOCHS}
    expected = [recipe, shorter | {"batch_size": 250}, shorter | {"batch_size": 2000}]
    assert [program.settings["recipe"] for program in train.call_args.args] == expected
    assert [program.wanted for program in train.call_args.args] == [12, PEER_EPOCHS, PEER_EPOCHS]
    fastest = {"mode": "eager", "precision": "float32", "seed": 0}
    for program in train.call_args.args[1:]:
        assert program.settings.items() >= fastest.items()
    train.return_value[1:] = [[last | {"images": 400}]] * 2
    with pytest.raises(UserError, match="400 training images, 500 here"):
        compare_trainings(recipe, peer)


def test_a_run_is_recorded(reproduced: MakeProject, tmp_path: Path) -> None:
    project = reproduced(tmp_path)
    shutil.copytree(ROOT / "benchmarks", tmp_path / "benchmarks")
    project.commit("Benchmarks")
    before = project.params()
    module = ["python", "-m", "benchmarks.record", "tutorial", "3"]
    output = project.call(*module, "-S", "recipes.tutorial.epochs=1")

    folder = tmp_path / "results/tutorial/seed-3"
    names = ["evaluate.json", "history.csv", "params.yaml", "run.json", "train.json"]
    assert sorted(path.name for path in folder.iterdir()) == names
    facts = json.loads((folder / "run.json").read_text())
    assert facts["commit"] == project.git("rev-parse", "HEAD").strip()
    assert json.loads((folder / "train.json").read_text())["training"][0]["images"] == 500
    metrics = json.loads((folder / "evaluate.json").read_text())
    assert output.splitlines()[-1] == (
        f"mean test accuracy {metrics['accuracy']:.4f} of [{metrics['accuracy']}]"
    )
    header, *_ = (folder / "history.csv").read_text().splitlines()
    assert header == "epoch,loss,accuracy,learning_rate,recipe"
    # The workspace is left as it was.
    assert project.params() == before
    assert project.git("status", "--porcelain").split() == ["??", "results/"]


def test_each_row_of_the_ladder_adds_its_idea(here: Path) -> None:
    rows = []
    for row in range(len(LADDER)):
        shutil.copy(ROOT / "params.yaml", here)
        apply_overrides("params.yaml", settings(row, 2, 3))
        params = read_params()
        recipe = params.recipes["tutorial"]
        assert (params.seed, params.recipe, recipe.epochs) == (2, "tutorial", 3)
        augmentation = recipe.augmentation.flip, recipe.augmentation.translation
        more = recipe.schedule.name, recipe.label_smoothing, recipe.optimizer.name
        views = params.evaluate.test_time_augmentation
        rows.append((*augmentation, *more, recipe.network.name, views))
    first = ("none", 0, "constant", 0.0, "rmsprop", "tutorial", "none")
    last = ("random", 2, "linear", 0.2, "muon", "airbench", "flip_translate")
    assert rows == [last[:row] + first[row:] for row in range(8)]


ROWS = """
import os
from benchmarks.turns import answer

def rows(log, name, end):
    for row in range(1, end):
        with open(log, "a") as file:
            file.write(f"{name} {os.getpid()} ")
        yield {"row": row}

answer(rows)
"""


def test_programs_take_turns(tmp_path: Path) -> None:
    """Until one of them ends too early; afterwards none is left."""
    log = tmp_path / "log"

    def program(name: str, wanted: int, end: int) -> Program:
        settings = {"log": str(log), "name": name, "end": end}
        return Program(name, [sys.executable, "-c", ROWS], "rows", settings, wanted)

    longer, shorter = in_turns(program("a", 6, 7), program("b", 3, 100))
    assert [row["row"] for row in longer] == [1, 2, 3, 4, 5, 6]
    assert [row["row"] for row in shorter] == [1, 2, 3]
    with pytest.raises(subprocess.CalledProcessError):
        in_turns(program("a", 6, 7), program("b", 6, 3))
    told = log.read_text().split()
    assert "".join(told[::2]) == "abaabaaba" + "ababa"
    processes = {*map(int, told[1::2])}
    assert len(processes) == 4
    assert not any(map(psutil.pid_exists, processes))
