"""A training of milliseconds: network and loop in place of a recipe's, and what they were given."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages import device as device  # First, since TensorFlow reads what it sets.
from stages.train import run as run_module
from stages.train.history import Row
from stages.train.params import Recipe
from stages.train.recipes import Training
from tests.project import default_params

import keras  # isort: skip

Split = tuple[np.ndarray, np.ndarray]
HISTORY = Path("plots/history.csv")
# More digits than are shown.
ROWS: list[Row] = [
    {"epoch": 1, "loss": 2.123456789, "accuracy": 0.25, "val_loss": 2.5, "val_accuracy": 0.2},
    {"epoch": 2, "loss": 1 / 3, "accuracy": 2 / 3, "val_loss": 1234567.8, "val_accuracy": 1.0},
]
RECIPES = default_params()["recipes"]
TUTORIAL = Recipe.model_validate(RECIPES["tutorial"] | {"epochs": 2})
AIRBENCH = Recipe.model_validate(RECIPES["airbench_small"] | {"epochs": 2})


class Killed(BaseException):
    """The process is killed."""


def images(count: int, seed: int) -> Split:
    """Return random images and labels."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 10, count, np.uint8)
    return generator.random((count, 32, 32, 3), np.float32), labels


def small_network() -> keras.Model:
    """Return a network of 3 x 4 numbers of normalization, half of them trained, and 4 x 10."""
    # Keras would number the names.
    layers = [
        keras.layers.GlobalAveragePooling2D(name="mean"),
        keras.layers.BatchNormalization(name="normalization"),
        keras.layers.Dense(10, activation="softmax", name="classes"),
    ]
    return keras.Sequential([keras.Input((32, 32, 3), name="images"), *layers], name="small")


def training_of(model: keras.Model) -> Training:
    """Return a training of a network."""
    return Training(model, keras.optimizers.SGD(), keras.losses.CategoricalCrossentropy(), [])


class Loop:
    """Adds 1 to every weight in each epoch, and yields known rows."""

    def __init__(self, rows: list[Row] = ROWS):
        """Take the rows."""
        self.rows = rows
        self.killed_after = len(rows) + 1
        self.failure: BaseException = Killed()
        self.training: Training | None = None
        self.assembled: tuple[Any, ...] = ()
        self.trained: tuple[Any, ...] = ()
        self.on_gpu: bool | None = None
        # What the history held before each epoch, and after the last.
        self.histories: list[str | None] = []

    def install(self, patch: pytest.MonkeyPatch) -> "Loop":
        """Take the place of network and loop."""
        patch.setattr(run_module, "assemble", self.assemble)
        patch.setattr(run_module, "train", self.train)
        return self

    def assemble(
        self, recipe: Recipe, images: np.ndarray, labels: np.ndarray, seed: int, on_cpu: bool
    ) -> Training:
        """Make the training, unless there is one."""
        self.assembled = recipe, images, labels, seed, on_cpu
        self.training = self.training or training_of(small_network())
        return self.training

    def train(
        self,
        training: Training,
        images: np.ndarray,
        labels: np.ndarray,
        finished: Sequence[Row] = (),
        on_gpu: bool = False,
    ) -> Iterator[Row]:
        """Go through the epochs that are left."""
        assert training is self.training
        # A copy, since the caller's grows.
        self.trained = images, labels, [*finished]
        self.on_gpu = on_gpu
        for row in self.rows[len(finished) :]:
            self.note()
            if row["epoch"] > self.killed_after:
                raise self.failure
            for variable in training.model.variables:
                variable.assign_add(np.ones(variable.shape))
            yield row | {"learning_rate": 0.1}
        self.note()

    def note(self) -> None:
        """Note what the history holds."""
        self.histories.append(HISTORY.read_text() if HISTORY.exists() else None)
