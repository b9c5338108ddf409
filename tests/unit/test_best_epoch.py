"""Which epoch's weights are kept and when a training stops; both after it was killed, too."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages import device  # First, since TensorFlow reads what it sets.
from stages.train import run as run_module
from stages.train.history import Row
from stages.train.params import Recipe
from stages.train.phases import Phase
from stages.train.recipes import Training
from stages.train.run import run, write_history
from tests.unit.eager import without_graphs as without_graphs
from tests.unit.test_loop import Fixed, network
from tests.unit.tiny import Killed
from tests.unit.tiny_recipes import tiny

import keras  # isort: skip

MODEL, METRICS = Path("models/model.keras"), Path("metrics/train.json")
HISTORY = Path("plots/history.csv")
SIDE = 2
# The class that the network learns to answer in each epoch, and the classes of the validation
# images, all of which look the same: 1, 3, 2, 3 and 1 of 6 are answered correctly.
LEARNED = [8, 7, 9, 7, 8]
VALIDATION = np.ones((6, SIDE, SIDE, 3), np.float32), np.array([7, 7, 7, 8, 9, 9], np.uint8)
ACCURACIES = [1 / 6, 3 / 6, 2 / 6, 3 / 6, 1 / 6]
TRAINING = np.ones((1, SIDE, SIDE, 3), np.float32), np.zeros(1, np.uint8)


class Assembly:
    """Takes the place of `assemble`, and notes the training and its weights after each epoch."""

    def __init__(self, patch: pytest.MonkeyPatch):
        """Take the place, and that of the history's writer."""
        self.training: Training | None = None
        self.weights: list[list[np.ndarray]] = []
        self.killed_after = len(LEARNED) + 1
        patch.setattr(device, "GPUS", [])
        patch.setattr(run_module, "assemble", self.assemble)
        patch.setattr(run_module, "write_history", self.write_history)

    def assemble(self, recipe: Recipe, *_: Any, **__: Any) -> Training:
        """Return a training with the recipe's ends."""
        model = network(SIDE)
        variables = model.trainable_variables
        self.training = Training(
            model,
            keras.optimizers.SGD(100.0),
            keras.losses.CategoricalCrossentropy(),
            [Phase(range(recipe.epochs), model, variables, Fixed(SIDE, LEARNED))],
            patience=recipe.patience,
            best=network(SIDE) if recipe.keep == "best" else None,
        )
        return self.training

    def write_history(self, rows: list[Row], name: str) -> None:
        """Note the weights, and be killed where that is wanted."""
        assert self.training
        self.weights.append(self.training.model.get_weights())
        write_history(rows, name)
        if len(rows) == self.killed_after:
            raise Killed


@pytest.fixture
def assembly(folder: Path, monkeypatch: pytest.MonkeyPatch, without_graphs: None) -> Assembly:
    return Assembly(monkeypatch)


def trained(**changed: Any) -> None:
    recipe = tiny("tutorial", **{"epochs": len(LEARNED)} | changed)
    # Keras would number the names.
    keras.utils.clear_session()
    run("mine", recipe, 0, "auto", TRAINING, VALIDATION)


def rows_written() -> list[dict[str, str]]:
    with HISTORY.open() as file:
        return [*csv.DictReader(file)]


# After a recipe's keys: the epochs that are trained, the one that is kept, whether it is told.
ENDS: list[tuple[dict[str, Any], int, int, bool]] = [
    ({}, 5, 5, False),
    ({"keep": "best"}, 5, 2, False),
    ({"keep": "best", "epochs": 1}, 1, 1, False),
    ({"patience": 1}, 3, 3, True),
    ({"patience": 2}, 4, 4, True),
    # It would stop where it ends.
    ({"patience": 3}, 5, 5, False),
    ({"keep": "best", "patience": 1}, 3, 2, True),
    ({"keep": "best", "patience": 2}, 4, 2, True),
    ({"keep": "best", "patience": 9}, 5, 2, False),
]
IDS = [" ".join(f"{key}={value}" for key, value in end[0].items()) or "last" for end in ENDS]


@pytest.mark.parametrize(("changed", "epochs", "kept", "told"), ENDS, ids=IDS)
def test_the_kept_epochs_weights_and_results_are_left(
    assembly: Assembly,
    capsys: pytest.CaptureFixture[str],
    changed: dict[str, Any],
    epochs: int,
    kept: int,
    told: bool,
) -> None:
    trained(**changed)
    rows = rows_written()
    assert [float(row["val_accuracy"]) for row in rows] == pytest.approx(ACCURACIES[:epochs], 1e-5)
    assert len(assembly.weights) == epochs
    found = keras.saving.load_model(MODEL, safe_mode=True).get_weights()
    for value, expected in zip(found, assembly.weights[kept - 1], strict=True):
        np.testing.assert_array_equal(value, expected)
    results = json.loads(METRICS.read_text())
    assert results["epochs"] == kept
    for name, short in (
        ("train_loss", "loss"),
        ("train_accuracy", "accuracy"),
        ("val_loss", "val_loss"),
        ("val_accuracy", "val_accuracy"),
    ):
        assert results[name] == float(rows[kept - 1][short])
    patience = changed.get("patience")
    line = [f"stopped: no better val_accuracy in {patience} epochs"] if told else []
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("stopped")] == line
    assert len([line for line in lines if line.startswith("epoch")]) == epochs


def files() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in (MODEL, METRICS, HISTORY)}


@pytest.mark.parametrize("killed_after", [1, 2, 3, 4])
@pytest.mark.parametrize("keep", ["last", "best"])
def test_a_killed_training_keeps_the_same_epoch_and_stops_after_the_same(
    assembly: Assembly, capsys: pytest.CaptureFixture[str], keep: str, killed_after: int
) -> None:
    """Before the best epoch, after it, and when it had but to stop."""
    trained(keep=keep, patience=2)
    expected = files()
    for name in expected:
        Path(name).unlink()
    assembly.killed_after = killed_after
    with pytest.raises(Killed):
        trained(keep=keep, patience=2)
    assembly.killed_after = len(LEARNED) + 1
    capsys.readouterr()
    assembly.weights.clear()
    trained(keep=keep, patience=2)
    assert files() == expected
    # The history is written as it was, then after each epoch that was left.
    assert len(assembly.weights) == 1 + 4 - killed_after
    assert "stopped: no better val_accuracy in 2 epochs\n" in capsys.readouterr().out
