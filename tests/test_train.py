"""The stage train: its loop on real images, and what it writes."""

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from stages import device as device  # First, since TensorFlow reads what it sets.
from stages.models.tutorial import Tutorial
from stages.processors import multiply_bfloat16
from stages.train.augmentation import Augmentation
from stages.train.batches import Batches
from stages.train.history import Row
from stages.train.loop import train
from stages.train.params import Recipe
from stages.train.phases import Phase
from stages.train.randomness import stream
from stages.train.recipes import Training, assemble
from tests.project import (
    ROOT,
    Stage,
    assert_refused,
    default_params,
    put,
    small_params,
    write_params,
)
from tests.unit.picked import epoch_of

import keras  # isort: skip
import tensorflow as tf  # isort: skip


def load(arrays: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    folder = arrays / "data/processed" / split
    return np.load(folder / "images.npy", allow_pickle=False), np.load(
        folder / "labels.npy", allow_pickle=False
    )


def test_loop_does_what_fit_does(arrays: Path) -> None:
    """The tutorial, dropout and all, trained by the loop and by Keras on the same order."""
    images, labels = load(arrays, "train")
    validation_images, validation_labels = load(arrays, "validation")
    loss = keras.losses.CategoricalCrossentropy()
    batches = Batches(images, labels, 32, Augmentation(), seed=3)
    network = Tutorial(name="tutorial", filters=[8, 8, 8], dense_units=16)

    keras.utils.set_random_seed(0)
    model = network.build(images, stream(0, "weights"), on_cpu=True)
    optimizer = keras.optimizers.RMSprop()
    phase = Phase(range(2), model, model.trainable_variables, batches)
    training = Training(model, optimizer, loss, [phase])
    rows = list(train(training, validation_images, validation_labels))

    keras.utils.set_random_seed(0)
    expected = network.build(images, stream(0, "weights"), on_cpu=True)
    expected.compile("rmsprop", loss, metrics=["accuracy"])
    for epoch, row in enumerate(rows):
        order = stream(3, "order", epoch).permutation(len(labels))
        history = expected.fit(
            images[order],
            keras.utils.to_categorical(labels[order], 10),
            batch_size=32,
            shuffle=False,
            validation_data=(
                validation_images,
                keras.utils.to_categorical(validation_labels, 10),
            ),
            verbose=0,
        ).history
        assert row["epoch"] == epoch + 1
        for name, (value,) in history.items():
            assert row[name] == pytest.approx(value, rel=1e-4), name
    for found, wanted in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-5)


def assembled(arrays: Path, settings: dict[str, object]) -> Training:
    """Return what the small recipe trains, the values at some dotted keys replaced."""
    recipe = small_params(arrays)["recipes"]["airbench_small"]
    for key, value in settings.items():
        put(recipe, key, value)
    return assemble(Recipe(**recipe), *load(arrays, "train"), seed=0, on_cpu=True)


def trained_epochs(training: Training) -> Iterator[Row]:
    """Train without validation."""
    return train(training, np.empty((0, 32, 32, 3), np.float32), np.empty(0, np.uint8))


def test_phases_of_airbench(arrays: Path) -> None:
    """Shrunk images in two epochs, the first layer's bias trained in three of five."""
    training = assembled(
        arrays,
        {
            "epochs": 5,
            "augmentation.low_resolution": 16,
            "augmentation.low_resolution_share": 0.4,
            "network.whitening_epochs": 3,
        },
    )
    assert [phase.epochs for phase in training.phases] == [range(2), range(2, 3), range(3, 5)]
    sides = [phase.model.input_shape[1] for phase in training.phases]
    assert sides == [16, 32, 32]
    assert training.model.input_shape == (None, 32, 32, 3)
    for phase in training.phases:
        batch, _ = next(epoch_of(phase.batches, 0))
        assert batch.shape[1:] == phase.model.input_shape[1:]
        assert phase.model.trainable_variables == training.model.trainable_variables

    bias = training.model.get_layer("whitening").bias
    biases = [bias.numpy() for _ in trained_epochs(training)]
    assert len(biases) == 5
    assert (biases[0] != 0).any()
    assert (biases[1] != biases[0]).any()
    assert (biases[2] != biases[1]).any()
    np.testing.assert_array_equal(biases[3], biases[2])
    np.testing.assert_array_equal(biases[4], biases[2])


def test_first_layers_bias_need_not_learn(arrays: Path) -> None:
    training = assembled(
        arrays,
        {"epochs": 1, "augmentation.low_resolution_share": 1.0, "network.whitening_epochs": 0},
    )
    (phase,) = training.phases
    list(trained_epochs(training))
    assert not training.model.get_layer("whitening").bias.numpy().any()
    assert len(phase.variables) == len(training.model.trainable_variables) - 1


def test_what_train_writes(trained: Path) -> None:
    with (trained / "plots/history.csv").open() as file:
        history = list(csv.DictReader(file))
    columns = ["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "recipe"]
    assert list(history[0]) == columns
    assert [row["epoch"] for row in history] == ["1", "2"]
    rate = default_params()["recipes"]["airbench_small"]["optimizer"]["kernel_learning_rate"]
    assert [float(row["learning_rate"]) for row in history] == pytest.approx([rate, rate / 2])
    metrics = json.loads((trained / "metrics/train.json").read_text())
    assert metrics["val_accuracy"] == float(history[-1]["val_accuracy"])
    assert metrics["sizes"][0]["images"] == 400
    (environment,) = metrics["environment"]
    assert environment["tensorflow"] == tf.__version__
    assert environment["threads"] == len(os.sched_getaffinity(0))
    assert not list(trained.rglob(".unfinished-*"))


def test_history_can_be_watched_and_the_device_is_named(
    arrays: Path, raw: Path, tmp_path: Path
) -> None:
    (tmp_path / "data").symlink_to(arrays / "data")
    params = small_params(raw) | {"device": "cpu"}
    params["recipes"]["airbench_small"]["epochs"] = 10
    params["recipes"]["airbench_small"]["network"]["whitening_epochs"] = 10
    write_params(tmp_path, params)
    command = [sys.executable, "-m", "stages.train"]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    output, errors = tmp_path / "output", tmp_path / "errors"
    with output.open("w") as out, errors.open("w") as err:
        process = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=out, stderr=err)
    seen = set()
    while process.poll() is None:
        if (tmp_path / "plots/history.csv").exists():
            lines = (tmp_path / "plots/history.csv").read_text().splitlines()
            assert lines[0] == "epoch,loss,accuracy,val_loss,val_accuracy,learning_rate,recipe"
            assert all(line.endswith(",airbench_small") for line in lines[1:])
            seen.add(len(lines) - 1)
        time.sleep(0.02)
    assert process.returncode == 0
    assert len(seen) > 4
    assert (tmp_path / "models/model.keras").exists()
    precision = "bfloat16" if multiply_bfloat16() else "float32"
    assert output.read_text().splitlines()[0] == f"device: CPU, {precision}"
    assert errors.read_text() == ""


@pytest.mark.parametrize("damage", ["missing", "truncated", "wrong type", "wrong length"])
def test_damaged_arrays_are_refused(
    call_stage: Stage, arrays: Path, tmp_path: Path, damage: str
) -> None:
    shutil.copytree(arrays / "data/processed", tmp_path / "data/processed")
    shutil.copy(arrays / "params.yaml", tmp_path)
    path = tmp_path / "data/processed/train/labels.npy"
    labels = np.load(path, allow_pickle=False)
    path.unlink()
    if damage == "truncated":
        np.save(path, labels, allow_pickle=False)
        os.truncate(path, 140)
    elif damage == "wrong type":
        np.save(path, labels.astype(np.float32), allow_pickle=False)
    elif damage == "wrong length":
        np.save(path, labels[1:], allow_pickle=False)
    assert_refused(call_stage("train", tmp_path), "data/processed/train/labels.npy: ")
    assert not (tmp_path / "models").exists()
