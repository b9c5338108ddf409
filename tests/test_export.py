"""The model as a single portable file, which gives the same answers."""

import tempfile
from contextlib import chdir
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from pipeline.data.arrays import Dataset, save, write_dataset
from stages.train import save_model
from tests.project import Stage, assert_refused

import keras

SIDE, CLASSES = 8, ("zebra", "gnu", "emu")


@pytest.fixture
def model(tmp_path: Path) -> keras.Model:
    """Return the model that is there as the trained one; it depends on each pixel."""
    keras.utils.set_random_seed(0)
    images = keras.Input((SIDE, SIDE, 3))
    layer = keras.layers.Dense(len(CLASSES), activation="softmax")
    model = keras.Model(images, layer(keras.layers.Flatten()(images)))
    with chdir(tmp_path):
        save_model(model, CLASSES)
    return model


def test_exported_model_gives_the_same_answers(
    model: keras.Model, call_stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        # The command sets it for the rest of its process.
        patch.setattr(tempfile, "tempdir", None)
        result = call_stage("export", tmp_path)
    assert result.returncode == 0, result.stderr
    exported = tmp_path / "models/model.tflite"
    assert result.stdout.endswith(f"models/model.tflite: {exported.stat().st_size:,} bytes\n")
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == ["model.keras", "model.tflite"]
    images = np.random.default_rng(0).random((3, SIDE, SIDE, 3), np.float32)
    interpreter = Interpreter(str(exported))
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert (taken["dtype"], given["dtype"]) == (np.float32, np.float32)
    for count in (1, 3):
        interpreter.resize_tensor_input(taken["index"], (count, SIDE, SIDE, 3))
        interpreter.allocate_tensors()
        interpreter.set_tensor(taken["index"], images[:count])
        interpreter.invoke()
        found = interpreter.get_tensor(given["index"])
        np.testing.assert_allclose(found, model(images[:count]), rtol=1e-5)


def test_a_model_of_8_bits_is_hardly_less_exact(
    model: keras.Model, call_stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (600, SIDE, SIDE, 3), np.uint8)
    images = pixels / np.float32(255)
    with chdir(tmp_path), monkeypatch.context() as patch:
        patch.setattr(tempfile, "tempdir", None)
        write_dataset(Dataset(CLASSES, SIDE))
        save("train", pixels, np.arange(600, dtype=np.uint8) % len(CLASSES))
        result = call_stage("export", tmp_path, "--int8")
        write_dataset(Dataset(CLASSES, 2 * SIDE))
        save("train", np.zeros((3, 2 * SIDE, 2 * SIDE, 3), np.uint8), np.arange(3, dtype=np.uint8))
        refused = call_stage("export", tmp_path, "--int8")
    assert (result.returncode, result.stderr) == (0, "")
    assert_refused(refused, "data/processed/train: images of 16 pixels; models/model.keras takes 8")
    interpreter = Interpreter(str(tmp_path / "models/model.tflite"))
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.resize_tensor_input(taken["index"], images.shape)
    interpreter.allocate_tensors()
    kernel = next(
        t for t in interpreter.get_tensor_details() if t["shape"].prod() == 3 * SIDE**2 * 3
    )
    assert kernel["dtype"] == np.int8
    interpreter.set_tensor(taken["index"], images)
    interpreter.invoke()
    distance = np.abs(interpreter.get_tensor(given["index"]) - model.predict_on_batch(images))
    assert 0 < distance.max() < 0.03


def test_what_cannot_be_exported_is_refused(call_stage: Stage, tmp_path: Path) -> None:
    assert_refused(call_stage("export", tmp_path), "models/model.keras: missing")
    assert_refused(call_stage("export", tmp_path, "a.onnx"), "a.onnx: ", ".tflite")
