"""What the comparisons count and train on, their turns, and the recording of runs."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
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
from tests.project import ROOT, Project


@pytest.fixture
def measuring(arrays: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure few images."""
    monkeypatch.chdir(arrays)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def recipe_of(name: str) -> dict[str, Any]:
    return read_params().recipes[name].model_dump()


@pytest.mark.usefixtures("measuring")
def test_what_is_missing_of_the_training_images_comes_from_the_validation_images() -> None:
    saved = {
        split: [
            np.load(f"data/processed/{split}/{name}.npy", allow_pickle=False)
            for name in ("images", "labels")
        ]
        for split in ("train", "validation")
    }
    # In the order in which they were published, before the last were taken for validation.
    published = [np.concatenate(parts) for parts in zip(*saved.values(), strict=True)]
    assert len(published[1]) == 500
    for count in (None, 10, len(saved["train"][1]), 450):
        for found, expected in zip(training_images(count), published, strict=True):
            np.testing.assert_array_equal(found, expected[:count])


@pytest.mark.usefixtures("measuring")
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


@pytest.mark.usefixtures("measuring")
def test_both_sides_train_on_the_same_images_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = recipe_of("airbench94")
    started: list[Program] = []

    def train(*programs: Program, others: int = 500) -> list[list[Row]]:
        started.extend(programs)
        last = {"images": others, "seconds": 2.0, "tta": 0.9}
        return [[last | {"images": 500}], *[[last] for _ in programs[1:]]]

    monkeypatch.setattr("benchmarks.__main__.in_turns", train)
    rows = compare_trainings(recipe, Peer("2.0", "eager", "float32", 250))
    assert [row[3] for row in rows] == ["1.00", "", "1.00", ""]
    us, *peers = started
    assert us.settings == {"recipe": recipe, "seed": 0}
    assert us.wanted == recipe["epochs"]
    for peer, size in zip(peers, (250, 2000), strict=True):
        shorter = recipe | {"epochs": PEER_EPOCHS, "batch_size": size}
        assert peer.settings == us.settings | {
            "recipe": shorter,
            "mode": "eager",
            "precision": "float32",
        }
        assert peer.wanted == PEER_EPOCHS
    monkeypatch.setattr("benchmarks.__main__.in_turns", partial(train, others=400))
    with pytest.raises(UserError, match="400 training images, 500 here"):
        compare_trainings(recipe, Peer("2.0", "eager", "float32", 250))


def test_a_run_is_recorded(reproduced: Callable[[Path], Project], tmp_path: Path) -> None:
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


def test_each_row_of_the_ladder_adds_its_idea(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipes, views = [], []
    for row in range(len(LADDER)):
        shutil.copy(ROOT / "params.yaml", tmp_path)
        apply_overrides("params.yaml", settings(row, 2, 3))
        params = read_params()
        assert (params.seed, params.recipe) == (2, "tutorial")
        recipes.append(params.recipes["tutorial"])
        views.append(params.evaluate.test_time_augmentation)
    assert {recipe.epochs for recipe in recipes} == {3}
    assert views == [*["none"] * 7, "flip_translate"]
    assert [recipe.augmentation.flip for recipe in recipes] == ["none", *["random"] * 7]
    assert [recipe.augmentation.translation for recipe in recipes] == [0, 0, *[2] * 6]
    assert [recipe.schedule.name for recipe in recipes] == [*["constant"] * 3, *["linear"] * 5]
    assert [recipe.label_smoothing for recipe in recipes] == [*[0.0] * 4, *[0.2] * 4]
    assert [recipe.optimizer.name for recipe in recipes] == [*["rmsprop"] * 5, *["muon"] * 3]
    assert [recipe.network.name for recipe in recipes] == [*["tutorial"] * 6, *["airbench"] * 2]


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
