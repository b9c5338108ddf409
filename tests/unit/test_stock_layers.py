"""A network with Keras's own layers only, and the file that it is saved to."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from stages import device as device  # First, since TensorFlow reads what it sets.
from stages.models.airbench import Airbench
from stages.models.stock_layers import with_stock_layers
from stages.train.saving import save_model

import keras  # isort: skip


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).random((3, 32, 32, 3), np.float32)


@pytest.fixture(scope="module")
def model(images: np.ndarray) -> keras.Model:
    """Return a tiny airbench network of random weights, made for a CPU."""
    generator = np.random.default_rng(0)
    network = Airbench(name="airbench", widths=[2, 4, 3], batch_norm_epsilon=0.1)
    model = network.build(images, generator, on_cpu=True)
    for variable in model.variables:
        if not variable.path.startswith("normalization"):
            variable.assign(generator.uniform(0.1, 1, variable.shape))
    return model


def test_the_same_network_of_kerass_layers(images: np.ndarray, model: keras.Model) -> None:
    stock = with_stock_layers(model)
    assert {type(layer) for layer in stock.layers} == {
        keras.layers.InputLayer,
        keras.layers.Normalization,
        keras.layers.Conv2D,
        keras.layers.Activation,
        keras.layers.MaxPooling2D,
        keras.layers.BatchNormalization,
        keras.layers.GlobalMaxPooling2D,
        keras.layers.Rescaling,
        keras.layers.Dense,
        keras.layers.Softmax,
    }
    assert [layer.name for layer in stock.layers] == [layer.name for layer in model.layers]
    assert [layer.get_config() for layer in stock.layers] == [
        layer.get_config() for layer in model.layers
    ]
    assert stock.name == model.name
    expected = model(images, training=False)
    np.testing.assert_allclose(stock(images, training=False), expected, atol=1e-6)
    # It is a copy.
    stock.get_layer("logits").kernel.assign(np.zeros((3, 10)))
    np.testing.assert_array_equal(model(images, training=False), expected)


def test_saved_model_holds_no_time(tmp_path: Path, model: keras.Model) -> None:
    stock = with_stock_layers(model)
    paths = [tmp_path / "one.keras", tmp_path / "two.keras"]
    for path in paths:
        save_model(stock, path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with zipfile.ZipFile(paths[0]) as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert b"date" not in archive.read("metadata.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.keras", "two.keras"]
