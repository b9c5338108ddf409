"""The stage train: its loop, its optimizer, its batches and what it writes."""

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
from stages.models import tutorial
from stages.train.batches import FlippedAndTranslated, Shuffled, shrunk
from stages.train.loop import Row, prepared_ahead, train
from stages.train.muon import Muon, orthogonalized
from stages.train.params import AirbenchRecipe
from stages.train.randomness import stream
from stages.train.recipes import Phase, Training, assemble
from tests.project import (
    ROOT,
    assert_refused,
    default_params,
    run_stage,
    small_params,
    write_params,
)

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
    batches = Shuffled(images, labels, 32, seed=3)

    keras.utils.set_random_seed(0)
    model = tutorial.build(8, 16, 0.25, 0.5)
    optimizer = keras.optimizers.RMSprop()
    phase = Phase(range(2), model, model.trainable_variables, batches)
    training = Training(model, optimizer, loss, [phase])
    rows = list(train(training, validation_images, validation_labels))

    keras.utils.set_random_seed(0)
    expected = tutorial.build(8, 16, 0.25, 0.5)
    expected.compile("rmsprop", loss, metrics=["accuracy"])
    for epoch, row in enumerate(rows):
        order = np.concatenate(batches.order(epoch))
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


@pytest.mark.parametrize("shape", [(24, 96), (96, 24), (64, 64)])
def test_orthogonalized_has_singular_values_near_one(shape: tuple[int, int]) -> None:
    matrix = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    found = orthogonalized(tf.constant(matrix), 5).numpy()
    u, _, v = np.linalg.svd(matrix, full_matrices=False)
    values = np.diag(u.T @ found @ v.T)
    assert 0.5 < values.min() <= values.max() < 1.3
    np.testing.assert_allclose(u @ np.diag(values) @ v, found, atol=1e-4)


def constant(rate: float) -> keras.optimizers.schedules.PolynomialDecay:
    return keras.optimizers.schedules.PolynomialDecay(rate, 1000, rate)


def test_variables_with_a_rate_take_nesterov_steps() -> None:
    start = np.array([1.0, -2.0, 3.0], np.float32)
    ours, theirs = keras.Variable(start, name="beta"), keras.Variable(start, name="beta")
    muon = Muon(constant(0.5), 0.6, 3, {"beta": constant(0.1)}, 0.85, 0.0)
    sgd = keras.optimizers.SGD(0.1, momentum=0.85, nesterov=True)
    for step in range(5):
        gradient = tf.constant(start * (step - 2))
        muon.apply([gradient], [ours])
        sgd.apply([gradient], [theirs])
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-5)


def test_kernels_take_steps_of_muon() -> None:
    generator = np.random.default_rng(0)
    start = generator.normal(size=(3, 3, 8, 16)).astype(np.float32)
    gradient = generator.normal(size=start.shape).astype(np.float32)
    kernel = keras.Variable(start, name="kernel")
    Muon(constant(0.24), 0.6, 3, {"beta": constant(0.1)}, 0.85, 0.0).apply(
        [tf.constant(gradient)], [kernel]
    )
    # The first step: the velocity is the gradient, Nesterov's form adds momentum times it.
    update = orthogonalized(tf.constant((1.6 * gradient).reshape(-1, 16)), 3).numpy()
    scaled = start * (4 / np.linalg.norm(start))
    np.testing.assert_allclose(
        kernel.numpy(), scaled - 0.24 * update.reshape(start.shape), atol=1e-5
    )


def test_shuffled_gives_every_image_once_in_another_order_each_epoch() -> None:
    labels = np.arange(50, dtype=np.uint8)
    images = np.repeat(labels, 3072).reshape(50, 32, 32, 3).astype(np.float32)
    batches = Shuffled(images, labels, 16, seed=0)
    epochs = [list(batches.epoch(number)) for number in (0, 1, 0)]
    assert [len(batch) for _, batch in epochs[0]] == [16, 16, 16, 2]
    assert len(batches) == 4
    orders = [np.concatenate([batch for _, batch in epoch]).tolist() for epoch in epochs]
    assert sorted(orders[0]) == sorted(orders[1]) == labels.tolist()
    assert orders[0] != orders[1]
    assert orders[0] == orders[2]
    for picked, batch in epochs[0]:
        np.testing.assert_array_equal(picked[:, 0, 0, 0], batch)


def test_flip_alternates_and_half_start_flipped() -> None:
    labels = np.arange(200, dtype=np.uint8)
    images = np.random.default_rng(0).random((200, 32, 32, 3), np.float32)
    batches = FlippedAndTranslated(images, labels, 64, 0, seed=0)
    sides = []
    for epoch in range(2):
        side = np.empty(200, bool)
        for picked, index in batches.epoch(epoch):
            flipped = (picked == images[index][:, :, ::-1]).all((1, 2, 3))
            assert (flipped | (picked == images[index]).all((1, 2, 3))).all()
            side[index] = flipped
        sides.append(side)
    assert 60 < sides[0].sum() < 140
    np.testing.assert_array_equal(sides[0], ~sides[1])


def test_translation_moves_by_up_to_its_pixels() -> None:
    labels = np.zeros(400, np.uint8)
    row, column = np.mgrid[:32, :32].astype(np.float32)
    image = np.stack([row, column, column], axis=-1)
    batches = FlippedAndTranslated(np.repeat(image[None], 400, 0), labels, 400, 2, seed=0)
    (picked, _), *_ = batches.epoch(0)
    centre = picked[:, 16, 16]
    mirrored = picked[:, 16, 17, 1] < picked[:, 16, 16, 1]
    moved_down = centre[:, 0] - 16
    moved_right = np.where(mirrored, 15, 16) - centre[:, 1]
    for moved in (moved_down, moved_right):
        assert set(moved) == {-2, -1, 0, 1, 2}
    # Beyond the border, the image is mirrored, its outermost row not repeated.
    far = picked[(moved_down == 2)][0, :, 16, 0]
    assert far.tolist() == [*range(2, 32), 30, 29]


def test_shrunk_keeps_what_an_image_shows() -> None:
    row, column = np.mgrid[:32, :32].astype(np.float32)
    images = np.stack([row, column, row], axis=-1)[None]
    small = shrunk(images, 24)
    assert small.shape == (1, 24, 24, 3)
    # The centre of pixel i of 24 lies at (i + 0.5) * 32 / 24 - 0.5 of 32; borders are averaged.
    expected = (np.arange(24) + 0.5) * 32 / 24 - 0.5
    np.testing.assert_allclose(small[0, 1:-1, 5, 0], expected[1:-1], atol=0.05)
    np.testing.assert_allclose(small[0, 5, 1:-1, 1], expected[1:-1], atol=0.05)
    assert shrunk(images, 32) is images


def test_shrunk_is_as_tensorflow_resizes() -> None:
    images = np.random.default_rng(0).random((3, 32, 32, 3), np.float32)
    expected = tf.image.resize(images, (20, 20), antialias=True)
    np.testing.assert_allclose(shrunk(images, 20), expected, atol=1e-6)


def assembled(arrays: Path, **settings: float) -> Training:
    """Return what the small recipe trains, some of its parameters replaced."""
    recipe = small_params(arrays)["recipes"]["airbench_small"] | settings
    return assemble(AirbenchRecipe(**recipe), *load(arrays, "train"), seed=0, on_cpu=True)


def trained_epochs(training: Training) -> Iterator[Row]:
    """Train without validation."""
    return train(training, np.empty((0, 32, 32, 3), np.float32), np.empty(0, np.uint8))


def test_phases_of_airbench(arrays: Path) -> None:
    """Shrunk images in two epochs, the first layer's bias trained in three of five."""
    training = assembled(
        arrays, epochs=5, low_resolution=16, low_resolution_share=0.4, whitening_epochs=3
    )
    assert [phase.epochs for phase in training.phases] == [range(2), range(2, 3), range(3, 5)]
    sides = [phase.model.input_shape[1] for phase in training.phases]
    assert sides == [16, 32, 32]
    assert training.model.input_shape == (None, 32, 32, 3)
    for phase in training.phases:
        batch, _ = next(phase.batches.epoch(0))
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


def test_an_epochs_end_waits_for_no_tuning(arrays: Path) -> None:
    """Where tf.data tunes, the end of an epoch waits for its sleeping thread, now and then only."""
    phase = assembled(arrays).phases[-1]
    assert prepared_ahead(phase, 0).options().autotune.enabled is False


def test_first_layers_bias_need_not_learn(arrays: Path) -> None:
    training = assembled(arrays, epochs=1, low_resolution_share=1.0, whitening_epochs=0)
    (phase,) = training.phases
    list(trained_epochs(training))
    assert not training.model.get_layer("whitening").bias.numpy().any()
    assert len(phase.variables) == len(training.model.trainable_variables) - 1


def test_streams_are_independent() -> None:
    one = stream(0, "order", 1).random(4).tolist()
    assert one == stream(0, "order", 1).random(4).tolist()
    others = [stream(1, "order", 1), stream(0, "flip", 1), stream(0, "order", 2)]
    assert all(other.random(4).tolist() != one for other in others)


def test_what_train_writes(trained: Path) -> None:
    with (trained / "plots/history.csv").open() as file:
        history = list(csv.DictReader(file))
    columns = ["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"]
    assert list(history[0]) == columns
    assert [row["epoch"] for row in history] == ["1", "2"]
    rate = default_params()["recipes"]["airbench_small"]["learning_rate"]
    assert [float(row["learning_rate"]) for row in history] == pytest.approx([rate, rate / 2])
    metrics = json.loads((trained / "metrics/train.json").read_text())
    assert metrics["val_accuracy"] == float(history[-1]["val_accuracy"])
    assert metrics["images"] == 400
    (environment,) = metrics["environment"]
    assert environment["tensorflow"] == tf.__version__
    assert environment["threads"] == len(os.sched_getaffinity(0))
    assert not list(trained.rglob(".unfinished-*"))


def test_history_can_be_watched(arrays: Path, raw: Path, tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(arrays / "data")
    params = small_params(raw)
    params["recipes"]["airbench_small"] |= {"epochs": 15, "whitening_epochs": 15}
    write_params(tmp_path, params)
    command = [sys.executable, "-m", "stages.train"]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.DEVNULL)
    seen = set()
    while process.poll() is None:
        if (tmp_path / "plots/history.csv").exists():
            lines = (tmp_path / "plots/history.csv").read_text().splitlines()
            assert lines[0] == "epoch,loss,accuracy,val_loss,val_accuracy,learning_rate"
            assert all(line.count(",") == 5 for line in lines)
            seen.add(len(lines) - 1)
        time.sleep(0.02)
    assert process.returncode == 0
    assert len(seen) > 5
    assert (tmp_path / "models/model.keras").exists()


def test_device_is_named(arrays: Path, raw: Path, tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(arrays / "data")
    params = small_params(raw) | {"device": "cpu"}
    params["recipes"]["airbench_small"]["epochs"] = 1
    write_params(tmp_path, params)
    result = run_stage("train", tmp_path)
    assert result.returncode == 0
    assert result.stdout.splitlines()[0] == "device: CPU"
    assert result.stderr == ""


@pytest.mark.parametrize("damage", ["missing", "truncated", "wrong type", "wrong length"])
def test_damaged_arrays_are_refused(arrays: Path, tmp_path: Path, damage: str) -> None:
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
    assert_refused(run_stage("train", tmp_path), "data/processed/train/labels.npy: ")
    assert not (tmp_path / "models").exists()
