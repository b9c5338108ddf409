"""The model as a single portable file, which gives the same answers."""

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from pipeline.data.arrays import Dataset, save, write_dataset
from stages.train import save_model
from tests.project import Stage, assert_refused, printed

import keras

SIDE, CLASSES = 8, ("zebra", "gnu", "emu")
PIXELS = np.random.default_rng(0).integers(0, 256, (600, SIDE, SIDE, 3), np.uint8)
IMAGES = PIXELS / np.float32(255)


@pytest.fixture
def model(here: Path) -> keras.Model:
    """Return the model that is there as the trained one; it depends on each pixel."""
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Flatten(), keras.layers.Dense(len(CLASSES), "softmax")]
    model = keras.Sequential([keras.Input((SIDE, SIDE, 3)), *layers])
    save_model(model, CLASSES)
    return model


def answers(interpreter: Interpreter, images: np.ndarray) -> np.ndarray:
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert (taken["dtype"], given["dtype"]) == (np.float32, np.float32)
    interpreter.resize_tensor_input(taken["index"], images.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(taken["index"], images)
    interpreter.invoke()
    return interpreter.get_tensor(given["index"])


def test_exported_model_gives_the_same_answers(model: keras.Model, call_stage: Stage) -> None:
    told = printed(call_stage("export", Path()))
    exported = Path("models/model.tflite")
    assert told.endswith(f"models/model.tflite: {exported.stat().st_size:,} bytes\n")
    assert sorted(path.name for path in Path().rglob("*.*")) == ["model.keras", "model.tflite"]
    interpreter = Interpreter(str(exported))
    for images in (IMAGES[:1], IMAGES[:3]):
        np.testing.assert_allclose(answers(interpreter, images), model(images), rtol=1e-5)


def test_a_model_of_8_bits_is_hardly_less_exact(model: keras.Model, call_stage: Stage) -> None:
    write_dataset(Dataset(CLASSES, SIDE))
    save("train", PIXELS, np.arange(600, dtype=np.uint8) % len(CLASSES))
    result = call_stage("export", Path(), "--int8")
    assert (result.returncode, result.stderr) == (0, "")
    interpreter = Interpreter("models/model.tflite")
    distance = np.abs(answers(interpreter, IMAGES) - model.predict_on_batch(IMAGES))
    assert 0 < distance.max() < 0.03
    details = interpreter.get_tensor_details()
    (kernel,) = (t for t in details if t["shape"].prod() == 3 * SIDE**2 * 3)
    assert kernel["dtype"] == np.int8

    write_dataset(Dataset(CLASSES, 2 * SIDE))
    save("train", np.zeros((3, 2 * SIDE, 2 * SIDE, 3), np.uint8), np.arange(3, dtype=np.uint8))
    refused = call_stage("export", Path(), "--int8")
    assert_refused(refused, "data/processed/train: images of 16 pixels; models/model.keras takes 8")


def test_what_cannot_be_exported_is_refused(call_stage: Stage, tmp_path: Path) -> None:
    assert_refused(call_stage("export", tmp_path), "models/model.keras: missing")
    assert_refused(call_stage("export", tmp_path, "a.onnx"), "a.onnx: ", ".tflite")
