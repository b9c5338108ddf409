"""The network of the 2018 Keras tutorial, layer by layer, and what each key makes of it."""

from typing import Any

import numpy as np
import pytest

from pipeline.common.config import Tutorial
from pipeline.common.shell import UserError
from pipeline.networks import tutorial

import keras


def build(side: int = 32, **settings: Any) -> keras.Model:
    params = Tutorial.model_validate({"name": "tutorial"} | settings)
    images = np.empty((0, side, side, 3), np.float32)
    return tutorial.build(params, images, 10, np.random.default_rng(0), on_cpu=True)


def test_by_default_it_has_the_tutorials_numbers() -> None:
    model = build()
    assert model.count_params() == 2_180_746
    assert sum(np.prod(v.shape) for v in model.trainable_variables) == 2_179_338
    weighted = [layer for layer in model.layers if hasattr(layer, "kernel")]
    names = ["input_Layer", "Conv2D01", "Conv2D02", "Dense00", "Dense01"]
    assert [layer.name for layer in weighted] == names
    assert [layer.activation.__name__ for layer in weighted] == [*["relu"] * 4, "softmax"]
    rates = [layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    assert rates == [0.25, 0.25, 0.25, 0.5]


@pytest.mark.parametrize("batch_norm", [True, False])
def test_each_key_is_of_its_layers(batch_norm: bool) -> None:
    settings: dict[str, Any] = {"filters": [2, 3, 4], "kernel_size": 5, "pool_after": [1, 3]}
    settings |= {"dropout": 0.2, "dense_units": 6, "dense_dropout": 0.75, "activation": "elu"}
    model = build(batch_norm=batch_norm, **settings)
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


def test_each_pooling_needs_two_pixels() -> None:
    assert build(8, pool_after=[1, 2, 3]).count_params()
    with pytest.raises(UserError, match="7 x 7 pixels; allowed are 2 numbers"):
        build(7, pool_after=[1, 2, 3])
