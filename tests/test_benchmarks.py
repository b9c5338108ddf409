"""What the benchmark computes itself, and the recording of runs."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dvc.utils.hydra import apply_overrides

from benchmarks.__main__ import flops
from benchmarks.ladder import LADDER, settings
from benchmarks.turns import Training, in_turns
from stages import device as device  # First, since TensorFlow reads what it sets.
from stages.evaluate.params import EvaluateParams
from stages.models.airbench import Airbench
from stages.params import read
from stages.train.params import Seed, read_recipe
from tests.project import ROOT, Project

import keras  # isort: skip


@pytest.mark.parametrize("widths", [[64, 256, 256], [16, 32, 64]], ids=str)
def test_flops_are_those_of_the_networks_convolutions(widths: list[int]) -> None:
    images = np.random.default_rng(0).random((100, 32, 32, 3), np.float32)
    model = Airbench(name="airbench", widths=widths).build(images, np.random.default_rng(0), True)
    products = 0
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D) and layer.name.startswith("block"):
            _, height, width, _ = layer.output.shape
            products += height * width * int(np.prod(layer.kernel.shape))
    assert flops(widths) == 3 * 2 * products


def test_a_run_is_recorded(reproduced: Callable[[Path], Project], tmp_path: Path) -> None:
    project = reproduced(tmp_path)
    shutil.copytree(ROOT / "benchmarks", tmp_path / "benchmarks")
    project.commit("Benchmarks")
    before = project.params()
    module = ["python", "-m", "benchmarks.record", "tutorial", "3"]
    output = project.call(*module, "--", "recipes.tutorial.epochs=1")

    folder = tmp_path / "results/tutorial/seed-3"
    names = ["evaluate.json", "history.csv", "params.yaml", "run.json", "train.json"]
    assert sorted(path.name for path in folder.iterdir()) == names
    facts = json.loads((folder / "run.json").read_text())
    assert facts["commit"] == project.git("rev-parse", "HEAD").strip()
    assert json.loads((folder / "train.json").read_text())["sizes"][0]["images"] == 500
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
        assert (read("seed", Seed), read("recipe", str)) == (2, "tutorial")
        recipes.append(read_recipe())
        views.append(read("evaluate", EvaluateParams).tta)
    assert {recipe.epochs for recipe in recipes} == {3}
    assert views == [*["none"] * 7, "flip_translate"]
    assert [recipe.augmentation.flip for recipe in recipes] == ["none", *["random"] * 7]
    assert [recipe.augmentation.translation for recipe in recipes] == [0, 0, *[2] * 6]
    assert [recipe.schedule.name for recipe in recipes] == [*["constant"] * 3, *["linear"] * 5]
    assert [recipe.label_smoothing for recipe in recipes] == [*[0.0] * 4, *[0.2] * 4]
    assert [recipe.optimizer.name for recipe in recipes] == [*["rmsprop"] * 5, *["muon"] * 3]
    assert [recipe.network.name for recipe in recipes] == [*["tutorial"] * 6, *["airbench"] * 2]


def program(name: str, epochs: int, log: Path, fails: bool = False) -> list[str]:
    """Return a program that notes in `log` when an epoch of it starts."""
    text = f"""
import sys
from pathlib import Path
from benchmarks.turns import print_in_turns

def rows():
    for epoch in range(1, {epochs} + 1):
        with Path({str(log)!r}).open("a") as file:
            file.write("{name}")
        yield {{"epoch": epoch}}
        if {fails}:
            sys.exit(1)

print_in_turns(rows())
"""
    return [sys.executable, "-c", text]


def test_trainings_take_turns(tmp_path: Path) -> None:
    log = tmp_path / "log"
    longer, shorter = Training(program("a", 6, log), 6), Training(program("b", 3, log), 3)
    in_turns(longer, shorter)
    assert log.read_text() == "abaabaaba"
    assert [row["epoch"] for row in longer.rows] == [1, 2, 3, 4, 5, 6]
    assert [row["epoch"] for row in shorter.rows] == [1, 2, 3]
    for training in (longer, shorter):
        assert training.process
        assert training.process.returncode == 0


def test_a_training_that_fails_ends_the_other(tmp_path: Path) -> None:
    log = tmp_path / "log"
    good, bad = Training(program("a", 6, log), 6), Training(program("b", 3, log, True), 3)
    with pytest.raises(subprocess.CalledProcessError):
        in_turns(good, bad)
    assert good.process
    assert good.process.returncode == -signal.SIGKILL
