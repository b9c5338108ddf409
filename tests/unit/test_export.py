"""The model as a single portable file, in this process."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stages import device as device  # First, since TensorFlow reads what it sets.
from stages.errors import InputError
from tests.unit.disk import leave_free
from tools.export import main

import keras  # isort: skip
import tensorflow as tf  # isort: skip

Export = Callable[..., None]
# Of 3,072 values to ten classes.
WEIGHTS = 4 * (3072 * 10 + 10)


@pytest.fixture
def export(call: Callable[..., None]) -> Export:
    """Return a function that calls the program with arguments."""

    def called(*arguments: object) -> None:
        try:
            call(main, *arguments)
        finally:
            # The program sets it for the rest of its process.
            tempfile.tempdir = None

    return called


@pytest.fixture
def model(folder: Path) -> keras.Model:
    """Return a small model that is there as the trained one; it depends on each pixel."""
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Flatten(), keras.layers.Dense(10, activation="softmax")]
    model = keras.Sequential([keras.Input((32, 32, 3)), *layers])
    (folder / "models").mkdir()
    model.save("models/model.keras")
    return model


def refused(export: Export, *arguments: object) -> str:
    with pytest.raises(InputError) as caught:
        export(*arguments)
    return str(caught.value)


@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated")
def test_exported_model_gives_the_same_answers(
    model: keras.Model, export: Export, capfd: pytest.CaptureFixture[str]
) -> None:
    export()
    exported = Path("models/model.tflite")
    size = f"{exported.stat().st_size:,}"
    assert capfd.readouterr().out == f"models/model.tflite: {size} bytes\n"
    assert sorted(Path("models").iterdir()) == [Path("models/model.keras"), exported]
    images = np.random.default_rng(0).random((3, 32, 32, 3), np.float32)
    interpreter = tf.lite.Interpreter(str(exported))
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert (taken["dtype"], given["dtype"]) == (np.float32, np.float32)
    for count in (1, 3):
        interpreter.resize_tensor_input(taken["index"], (count, 32, 32, 3))
        interpreter.allocate_tensors()
        interpreter.set_tensor(taken["index"], images[:count])
        interpreter.invoke()
        found = interpreter.get_tensor(given["index"])
        np.testing.assert_allclose(found, model(images[:count]), rtol=1e-5)


class Converter:
    """Stands for Keras's conversion, which takes long, and notes what it was asked for."""

    def __init__(self, failure: Exception | None = None):
        """Take what the conversion ends in."""
        self.failure = failure
        self.calls: list[tuple[list[np.ndarray], Path, str, bool, str]] = []

    def install(self, patch: pytest.MonkeyPatch) -> "Converter":
        """Take the place of the conversion."""

        def convert(model: keras.Model, path: Path, format: str, verbose: bool) -> None:
            call = model.get_weights(), path, format, verbose, tempfile.gettempdir()
            self.calls.append(call)
            with tempfile.NamedTemporaryFile(delete=False) as file:
                file.write(b"half")
            if self.failure:
                raise self.failure
            path.write_bytes(b"x" * 1234)

        patch.setattr(keras.Model, "export", convert)
        return self


def test_file_and_model_can_be_named(
    model: keras.Model,
    export: Export,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    converter = Converter().install(monkeypatch)
    Path("models/model.keras").rename("other.keras")
    export("a/b/c.tflite", "--model", "other.keras")
    assert capsys.readouterr().out == "a/b/c.tflite: 1,234 bytes\n"
    assert Path("a/b/c.tflite").read_bytes() == b"x" * 1234
    ((weights, path, kind, verbose, folder),) = converter.calls
    for found, expected in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert (path, kind, verbose) == (Path("a/b/.unfinished-c.tflite"), "litert", False)
    # Of what is written meanwhile nothing is left; it lay on the disk of the result.
    assert Path(folder).name.startswith(".unfinished-")
    assert Path(folder).parent.resolve() == Path("a/b").resolve()
    assert [path.name for path in Path("a/b").iterdir()] == ["c.tflite"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "models/model.keras: missing; `dvc repro` or `dvc pull` brings a model"),
        (["--model", "b"], "b: missing; `dvc repro` or `dvc pull` brings a model"),
    ],
)
def test_a_missing_model_is_told(
    folder: Path, export: Export, arguments: list[str], says: str
) -> None:
    assert refused(export, *arguments) == says


@pytest.mark.parametrize("name", ["a.onnx", "a", "a.tflite.gz", "a.TFLITE"])
def test_another_kind_of_file_is_refused(folder: Path, export: Export, name: str) -> None:
    Path("a.keras").touch()
    assert refused(export, name, "--model", "a.keras") == f"{name}: the name must end in .tflite"


def test_a_damaged_model_is_told(folder: Path, export: Export) -> None:
    Path("a.keras").touch()
    assert refused(export, "--model", "a.keras").startswith("a.keras: not a readable Keras model: ")


def test_too_little_room_is_told(
    model: keras.Model, export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Room for the weights twice."""
    converter = Converter().install(monkeypatch)
    leave_free(monkeypatch, 2 * WEIGHTS)
    export()
    leave_free(monkeypatch, 2 * WEIGHTS - 1)
    assert refused(export, "a.tflite") == (
        "a.tflite: 245,840 bytes or more needed, 245,839 free on its disk"
    )
    assert len(converter.calls) == 1


def test_a_disk_that_becomes_full_meanwhile_is_told(
    model: keras.Model, export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    Converter(tf.errors.ResourceExhaustedError(None, None, "full")).install(monkeypatch)
    leave_free(monkeypatch, 1_000_000)
    assert refused(export) == (
        "models/model.tflite: 245,840 bytes or more needed, 1,000,000 free on its disk at first: "
        "No space left on device"
    )
    assert [path.name for path in Path("models").iterdir()] == ["model.keras"]


def test_help_tells_the_defaults(
    export: Export, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as caught:
        export("--help")
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: python -m tools export [-h] [--model MODEL] [FILE]\n")
    assert "Convert the trained model into one portable file" in text
    assert "FILE           models/model.tflite by default\n" in text
    assert "--model MODEL  models/model.keras by default\n" in text
