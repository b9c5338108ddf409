"""The network of the 2018 Keras tutorial, layer by layer, and what each key makes of it."""

from typing import Any

import numpy as np
import pytest

from pipeline.common.config import Tutorial
from pipeline.networks import tutorial

import keras

# Name, kind, output shape and parameters of the tutorial's layers; two have no name of its own.
TUTORIAL = [
    ("input_Layer", "Conv2D", (None, 32, 32, 64), 1_792),
    ("Batch_norm00", "BatchNormalization", (None, 32, 32, 64), 256),
    ("Drop00", "Dropout", (None, 32, 32, 64), 0),
    ("Conv2D01", "Conv2D", (None, 32, 32, 64), 36_928),
    ("Batch_norm01", "BatchNormalization", (None, 32, 32, 64), 256),
    (None, "MaxPooling2D", (None, 16, 16, 64), 0),
    ("Drop01", "Dropout", (None, 16, 16, 64), 0),
    ("Conv2D02", "Conv2D", (None, 16, 16, 64), 36_928),
    ("Batch_norm02", "BatchNormalization", (None, 16, 16, 64), 256),
    (None, "MaxPooling2D", (None, 8, 8, 64), 0),
    ("Drop02", "Dropout", (None, 8, 8, 64), 0),
    ("Flatten00", "Flatten", (None, 4096), 0),
    ("Dense00", "Dense", (None, 512), 2_097_152),
    ("Batch_norm03", "BatchNormalization", (None, 512), 2_048),
    (None, "ReLU", (None, 512), 0),
    ("DropOut03", "Dropout", (None, 512), 0),
    ("Dense01", "Dense", (None, 10), 5_130),
]


def build(**settings: Any) -> keras.Model:
    params = Tutorial.model_validate({"name": "tutorial"} | settings)
    images = np.empty((0, 32, 32, 3), np.float32)
    return tutorial.build(params, images, 10, np.random.default_rng(0), on_cpu=True)


def test_by_default_it_is_the_tutorials_network() -> None:
    model = build()
    assert model.count_params() == 2_180_746
    for layer, (name, kind, shape, parameters) in zip(model.layers, TUTORIAL, strict=True):
        assert name in (None, layer.name)
        found = type(layer).__name__, layer.output.shape, layer.count_params()
        assert found == (kind, shape, parameters)
    weighted = [layer for layer in model.layers if hasattr(layer, "kernel")]
    assert [layer.activation.__name__ for layer in weighted] == [*["relu"] * 4, "softmax"]
    rates = [layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    assert rates == [0.25, 0.25, 0.25, 0.5]


@pytest.mark.parametrize("batch_norm", [True, False])
def test_each_key_is_of_its_layers(batch_norm: bool) -> None:
    convolutions: dict[str, Any] = {"filters": [2, 3, 4], "kernel_size": 5, "pool_after": [1, 3]}
    dense = {"dropout": 0.2, "dense_units": 6, "dense_dropout": 0.75}
    model = build(activation="elu", batch_norm=batch_norm, **convolutions, **dense)
    convolution = {"kernel_size": (5, 5), "padding": "same", "activation": "elu"}
    normalization: list[Any] = [("BatchNormalization", {})] * batch_norm
    expected: list[tuple[str, dict[str, Any]]] = []
    for filters in (2, 3, 4):
        expected += [("Conv2D", {"filters": filters, **convolution}), *normalization]
        expected += [("MaxPooling2D", {"pool_size": (2, 2)})] * (filters != 3)
        expected += [("Dropout", {"rate": 0.2})]
    expected += [("Flatten", {}), ("Dense", {"units": 6, "activation": "elu"}), *normalization]
    expected += [("Activation", {"activation": "elu"}), ("Dropout", {"rate": 0.75})]
    expected += [("Dense", {"units": 10})]
    for layer, (kind, settings) in zip(model.layers, expected, strict=True):
        assert type(layer).__name__ == kind
        assert layer.get_config().items() >= settings.items()
    assert model.get_layer("Flatten00").output.shape == (None, 4 * 8**2)
