"""The model as a single portable file."""

import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from stages import device as device  # First, since TensorFlow reads what it sets.
from stages.cifar10 import TEST_BATCH, read_batch
from tests.project import assert_refused, run

import keras  # isort: skip


def test_exported_model_gives_the_same_answers(raw: Path, trained: Path, tmp_path: Path) -> None:
    model_path, exported = trained / "models/model.keras", tmp_path / "models/model.tflite"
    command = [sys.executable, "-m", "tools", "export", "--model", str(model_path)]
    result = run(command, tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"models/model.tflite: {exported.stat().st_size:,} bytes\n"
    assert [*tmp_path.rglob("*.*")] == [exported]

    pixels, labels = read_batch(raw / TEST_BATCH)
    images = (pixels[:1000] / np.float32(255)).astype(np.float32)
    model = keras.saving.load_model(model_path, safe_mode=True)
    expected = model.predict(images, verbose=0)
    interpreter = Interpreter(str(exported))
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    for count in (1, len(images)):
        interpreter.resize_tensor_input(taken["index"], (count, 32, 32, 3))
        interpreter.allocate_tensors()
        interpreter.set_tensor(taken["index"], images[:count])
        interpreter.invoke()
        found = interpreter.get_tensor(given["index"])
        assert found.shape == (count, 10)
        np.testing.assert_allclose(found, expected[:count], rtol=0, atol=1e-4)
    right = [int((answers.argmax(1) == labels[:1000]).sum()) for answers in (found, expected)]
    assert right[0] == right[1] > 100


def test_what_cannot_be_exported_is_refused(trained: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tools", "export"]
    assert_refused(run(command, tmp_path), "models/model.keras: missing")
    assert_refused(run([*command, "a.onnx"], trained), "a.onnx: the name must end in .tflite")
