"""The trained model: which files are refused, which answers are, and where it works."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from stages import device as device  # First, since TensorFlow reads what it sets.
from stages.errors import InputError
from stages.evaluate.inference import check_probabilities, infer, load_model
from stages.evaluate.params import Tta
from stages.params import Device

import keras  # isort: skip
import tensorflow as tf  # isort: skip

WEIGHTS = np.random.default_rng(1).normal(0, 0.05, (32 * 32 * 3, 10)).astype(np.float32)
IMAGES = np.random.default_rng(2).random((3, 32, 32, 3), np.float32)


def softmax(logits: np.ndarray) -> np.ndarray:
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def dense(
    inputs: tuple[int, ...] = (32, 32, 3), classes: int = 10, activation: str = "softmax"
) -> keras.Model:
    images = keras.Input(inputs)
    layer = keras.layers.Dense(classes, activation=activation)
    return keras.Model(images, layer(keras.layers.Flatten()(images)))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of a model of one dense layer and softmax."""
    path = tmp_path_factory.mktemp("model") / "model.keras"
    model = dense()
    model.set_weights([WEIGHTS, np.zeros(10, np.float32)])
    model.save(path)
    return path


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "File not found: filepath=model.keras. Please ensure the file is an accessible "),
        (b"PK\x05\x06" + bytes(18), "\"There is no item named 'config.json' in the archive\""),
    ],
)
def test_a_damaged_model_is_refused(folder: Path, content: bytes, says: str) -> None:
    Path("model.keras").write_bytes(content)
    with pytest.raises(InputError) as error:
        load_model(Path("model.keras"))
    assert str(error.value).startswith(f"model.keras: not a readable Keras model: {says}")


def test_what_keras_says_is_put_on_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*arguments: object, **settings: object) -> None:
        raise ValueError("first\n  second")

    monkeypatch.setattr(keras.saving, "load_model", load)
    with pytest.raises(InputError) as error:
        load_model(Path("model.keras"))
    assert str(error.value) == "model.keras: not a readable Keras model: first second"


@pytest.mark.parametrize(
    ("inputs", "classes", "found"),
    [
        ((32, 31, 3), 10, "((None, 32, 31, 3), (None, 10))"),
        ((32, 32, 3), 9, "((None, 32, 32, 3), (None, 9))"),
    ],
)
def test_a_model_of_other_shapes_is_refused(
    folder: Path, inputs: tuple[int, ...], classes: int, found: str
) -> None:
    dense(inputs, classes).save("other.keras")
    with pytest.raises(InputError) as error:
        load_model(Path("other.keras"))
    expected = "expected (n, 32, 32, 3) and (n, 10)"
    assert str(error.value) == f"other.keras: takes and gives {found}; {expected}"


@pytest.mark.filterwarnings("ignore:You are saving a model that has not yet been built")
def test_a_model_without_shapes_is_refused(folder: Path) -> None:
    keras.Sequential([keras.layers.Dense(10)], name="flat").save("model.keras")
    with pytest.raises(InputError) as error:
        load_model(Path("model.keras"))
    says = "Sequential model 'flat' has no defined input shape yet."
    assert str(error.value) == f"model.keras: not a readable Keras model: {says}"


def test_a_model_that_brings_code_is_refused(folder: Path) -> None:
    images = keras.Input((32, 32, 3))
    code = keras.layers.Lambda(lambda x: x)(images)
    keras.Model(images, keras.layers.Dense(10)(keras.layers.Flatten()(code))).save("model.keras")
    with pytest.raises(InputError, match="arbitrary code execution and thus it is disallowed"):
        load_model(Path("model.keras"))


def test_how_a_model_was_trained_does_not_matter(folder: Path) -> None:
    """A loss of its own, which nothing but the program of its training has."""

    def own(actual: Any, predicted: Any) -> Any:
        return keras.ops.mean(predicted - actual)

    model = dense()
    model.compile("sgd", own)
    model.save("model.keras")
    loaded = load_model(Path("model.keras"))
    for weights, expected in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(weights, expected)


@pytest.mark.parametrize(
    "rows",
    [
        [[0.5, 0.5], [1, 0], [0, 1]],
        [[0.5, 0.5009]],
        [[0.5, 0.4991]],
    ],
)
def test_probabilities_are_accepted(rows: list[list[float]]) -> None:
    check_probabilities(np.array(rows, np.float32), Path("model.keras"))


@pytest.mark.parametrize(
    "rows",
    [
        [[0.5, 0.5], [0.5, 0.5012]],
        [[0.5, 0.5], [0.5, 0.4988]],
        # Right in the mean, and by columns.
        [[0.25, 0.25], [0.75, 0.75]],
        [[1.001, -0.001], [0.5, 0.5]],
        [[0.5, np.nan], [0.5, 0.5]],
        [[np.inf, 0], [0.5, 0.5]],
    ],
)
def test_what_are_no_probabilities_is_refused(rows: list[list[float]]) -> None:
    with pytest.raises(InputError) as error:
        check_probabilities(np.array(rows, np.float32), Path("models/model.keras"))
    says = "gives no class probabilities; expected are 0 to 1, in sum 1"
    assert str(error.value) == f"models/model.keras: {says}"


def test_answers_with_and_without_views(saved: Path) -> None:
    plain = IMAGES.reshape(3, -1) @ WEIGHTS
    mirrored = IMAGES[:, :, ::-1].reshape(3, -1) @ WEIGHTS
    found, found_plain, found_brighter = infer(
        saved, IMAGES, "flip", 2, "cpu", ["brightness_40", "jpeg_50"]
    )
    np.testing.assert_allclose(found, softmax((plain + mirrored) / 2), rtol=1e-4)
    np.testing.assert_allclose(found_plain, softmax(plain), rtol=1e-4)
    brighter = np.minimum(np.rint(255 * IMAGES) + 40, 255) / 255
    expected = softmax(brighter.reshape(3, -1) @ WEIGHTS)
    assert len(found_brighter) == 2
    np.testing.assert_allclose(found_brighter[0], expected, rtol=1e-4)


@pytest.mark.parametrize("tta", get_args(Tta))
def test_answers_that_are_no_probabilities_are_refused(folder: Path, tta: Tta) -> None:
    """Also where their mean over several views is one."""
    dense(activation="linear").save("logits.keras")
    with pytest.raises(InputError) as error:
        infer(Path("logits.keras"), IMAGES, tta, 3, "cpu")
    says = "gives no class probabilities; expected are 0 to 1, in sum 1"
    assert str(error.value) == f"logits.keras: {says}"


@pytest.mark.parametrize(
    ("wanted", "says"),
    [("cpu", "device: CPU, float32\n"), ("auto", "device: CPU, float32; no GPU is seen\n")],
)
def test_the_device_that_is_wanted_is_told(
    saved: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    wanted: Device,
    says: str,
) -> None:
    monkeypatch.setattr(device, "GPUS", [])
    infer(saved, IMAGES, "none", 3, wanted)
    assert capsys.readouterr().out == says


def test_too_little_memory_is_told(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*given: object) -> None:
        raise tf.errors.ResourceExhaustedError(None, None, "of GPU 0")

    monkeypatch.setattr(keras.Model, "predict_on_batch", fail)
    with pytest.raises(InputError) as error:
        infer(saved, IMAGES, "none", 3, "cpu")
    assert str(error.value) == (
        "params.yaml: evaluate.batch_size = 3 needs more memory than there is; "
        "a smaller one needs less"
    )


@pytest.fixture
def exact_placement() -> Iterator[None]:
    """Let TensorFlow fail where a device is missing, instead of taking another one."""
    before = tf.config.get_soft_device_placement()
    tf.config.set_soft_device_placement(False)
    yield
    tf.config.set_soft_device_placement(before)


@pytest.mark.usefixtures("exact_placement")
def test_the_model_works_on_the_selected_device(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is not there, so that what TensorFlow says tells where it was to work."""
    nowhere = tf.DeviceSpec(device_type="GPU", device_index=7)
    monkeypatch.setattr(device, "select", lambda wanted: [nowhere])
    with pytest.raises(InputError, match=re.escape("/device:GPU:7")):
        infer(saved, IMAGES, "none", 3, "gpu")
