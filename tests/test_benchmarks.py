"""What the comparisons count and train on, their turns, and the recording of runs."""

import json
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from dvc.utils.hydra import apply_overrides

from benchmarks.__main__ import PEER_EPOCHS, Peer, compare_trainings
from benchmarks.ladder import LADDER, settings
from benchmarks.turns import Program, Row, in_turns, ours, training_images
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
    started: list[Program] = []

    def train(*programs: Program, others: int = 500) -> list[list[Row]]:
        started.extend(programs)
        last = {"images": others, "seconds": 2.0, "tta": 0.9}
        return [[last | {"images": 500}], *[[last] for _ in programs[1:]]]

    monkeypatch.setattr("benchmarks.__main__.in_turns", train)
    assert [row[3] for row in compare_trainings(recipe, peer)] == ["1.00", "", "1.00", ""]
    shorter = recipe | {"epochs": PEER_EPOCHS}
    expected = [recipe, shorter | {"batch_size": 250}, shorter | {"batch_size": 2000}]
    assert [program.settings["recipe"] for program in started] == expected
    assert [program.wanted for program in started] == [each["epochs"] for each in expected]
    assert {program.settings["seed"] for program in started} == {0}
    for program in started[1:]:
        assert program.settings.items() >= {"mode": "eager", "precision": "float32"}.items()
    monkeypatch.setattr("benchmarks.__main__.in_turns", partial(train, others=400))
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


def program(name: str, rows: int, log: Path, printed: int | None = None) -> Program:
    """Return a program that notes in `log` when it begins with a row, and its process."""
    text = f"""
import os
from pathlib import Path
from benchmarks.turns import answer

def rows(end):
    for row in range(1, end):
        with Path({str(log)!r}).open("a") as file:
            file.write("{name}")
        yield {{"row": row, "process": os.getpid()}}

answer(rows)
"""
    end = (printed or rows) + 1
    return Program(name, [sys.executable, "-c", text], "rows", {"end": end}, rows)


def test_programs_take_turns(tmp_path: Path) -> None:
    log = tmp_path / "log"
    longer, shorter = in_turns(program("a", 6, log), program("b", 3, log, 100))
    assert log.read_text() == "abaabaaba"
    assert [row["row"] for row in longer] == [1, 2, 3, 4, 5, 6]
    assert [row["row"] for row in shorter] == [1, 2, 3]
    assert not any(psutil.pid_exists(rows[0]["process"]) for rows in (longer, shorter))


def test_a_program_that_ends_too_early_ends_the_others(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log"
    with pytest.raises(subprocess.CalledProcessError):
        in_turns(program("a", 6, log), program("b", 6, log, 2))
    assert log.read_text() == "abab" + "a"
    processes = {int(number) for number in re.findall(r"'process': (\d+)", capfd.readouterr().out)}
    assert len(processes) == 2
    assert not any(map(psutil.pid_exists, processes))
