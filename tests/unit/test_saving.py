"""The file of the trained model: the same bytes for the same model, and any Keras loads it."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from stages import device as device  # First, since TensorFlow reads what it sets.
from stages.errors import InputError
from stages.train.saving import save_model
from tests.unit.disk import leave_free

import keras  # isort: skip

# Five inputs and a bias each for three units, and four numbers for each unit's normalization.
PARAMETERS = (5 + 1) * 3 + 4 * 3


@pytest.fixture(scope="module")
def model() -> keras.Model:
    layers = [keras.layers.Dense(3, name="dense"), keras.layers.BatchNormalization()]
    return keras.Sequential([keras.Input((5,)), *layers], name="small")


def test_the_same_model_gives_the_same_bytes(folder: Path, model: keras.Model) -> None:
    save_model(model, Path("one.keras"))
    save_model(model, Path("two.keras"))
    assert Path("one.keras").read_bytes() == Path("two.keras").read_bytes()
    assert sorted(path.name for path in folder.iterdir()) == ["one.keras", "two.keras"]


def test_the_file_is_keras_own_without_a_time(folder: Path, model: keras.Model) -> None:
    save_model(model, Path("models/model.keras"))
    keras.saving.save_model(model, "keras.keras")
    with zipfile.ZipFile("models/model.keras") as ours, zipfile.ZipFile("keras.keras") as theirs:
        assert ours.namelist() == theirs.namelist()
        assert {info.date_time for info in ours.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {info.compress_type for info in ours.infolist()} == {zipfile.ZIP_STORED}
        metadata = json.loads(theirs.read("metadata.json"))
        assert json.loads(ours.read("metadata.json")) == {"keras_version": keras.__version__}
        assert {*metadata} == {"keras_version", "date_saved"}
        for name in ("config.json", "model.weights.h5"):
            assert ours.read(name) == theirs.read(name)


def test_keras_loads_the_model(folder: Path, model: keras.Model) -> None:
    save_model(model, Path("model.keras"))
    loaded = keras.saving.load_model("model.keras", safe_mode=True)
    assert loaded.name == "small"
    for found, expected in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected, strict=True)


def test_the_room_needed_is_that_of_the_weights(
    folder: Path, model: keras.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_free(monkeypatch, 4 * PARAMETERS)
    save_model(model, Path("model.keras"))
    old = Path("model.keras").read_bytes()
    leave_free(monkeypatch, 4 * PARAMETERS - 1)
    with pytest.raises(InputError) as caught:
        save_model(model, Path("model.keras"))
    assert str(caught.value) == "model.keras: 120 bytes or more needed, 119 free on its disk"
    assert Path("model.keras").read_bytes() == old
