"""The network of the 2018 Keras tutorial, layer by layer."""

from typing import Any

import numpy as np
import pytest

from stages import device as device  # First, since TensorFlow reads what it sets.
from stages.models.tutorial import Tutorial

import keras  # isort: skip
import tensorflow as tf  # isort: skip

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


def build(on_cpu: bool = True, **settings: Any) -> keras.Model:
    """Return the network, which does not depend on the images."""
    network = Tutorial.model_validate({"name": "tutorial"} | settings)
    return network.build(np.empty((0, 32, 32, 3)), np.random.default_rng(0), on_cpu)


def test_tutorial_is_the_tutorials_network() -> None:
    """By default."""
    model = build()
    assert model.count_params() == 2_180_746
    assert sum(int(tf.size(weight)) for weight in model.trainable_weights) == 2_179_338
    assert len(model.layers) == len(TUTORIAL)
    for layer, (name, kind, shape, parameters) in zip(model.layers, TUTORIAL, strict=True):
        assert name in (None, layer.name)
        assert type(layer).__name__ == kind
        assert layer.output.shape == shape
        assert layer.count_params() == parameters
    rates = [layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    assert rates == [0.25, 0.25, 0.25, 0.5]
    for name in ("input_Layer", "Conv2D01", "Conv2D02", "Dense00"):
        assert model.get_layer(name).activation is keras.activations.relu
    assert model.get_layer("Dense01").activation is keras.activations.softmax
    assert not model.get_layer("Dense00").use_bias


def test_a_gpu_gets_pooling_that_xla_compiles() -> None:
    kinds = [type(layer).__name__ for layer in build(on_cpu=False).layers]
    expected = [kind.replace("MaxPooling2D", "CompiledMaxPooling2D") for _, kind, *_ in TUTORIAL]
    assert kinds == expected


def convolution(name: str) -> tuple[str, dict[str, Any]]:
    return "Conv2D", {
        "name": name,
        "filters": 5,
        "kernel_size": (3, 3),
        "strides": (1, 1),
        "padding": "same",
        "activation": "relu",
        "use_bias": True,
    }


def normalization(name: str) -> tuple[str, dict[str, Any]]:
    """Return Keras's defaults, which the tutorial took."""
    settings = {"momentum": 0.99, "epsilon": 0.001, "center": True, "scale": True}
    return "BatchNormalization", {"name": name} | settings


POOLING = "MaxPooling2D", {"pool_size": (2, 2), "strides": (2, 2), "padding": "valid"}
# Kinds and settings, for 5 filters, 7 units, and dropout of 0.2 and 0.6.
LAYERS: list[tuple[str, dict[str, Any]]] = [
    convolution("input_Layer"),
    normalization("Batch_norm00"),
    ("Dropout", {"name": "Drop00", "rate": 0.2}),
    convolution("Conv2D01"),
    normalization("Batch_norm01"),
    POOLING,
    ("Dropout", {"name": "Drop01", "rate": 0.2}),
    convolution("Conv2D02"),
    normalization("Batch_norm02"),
    POOLING,
    ("Dropout", {"name": "Drop02", "rate": 0.2}),
    ("Flatten", {"name": "Flatten00"}),
    ("Dense", {"name": "Dense00", "units": 7, "activation": "relu", "use_bias": False}),
    normalization("Batch_norm03"),
    ("ReLU", {"max_value": None, "negative_slope": 0.0, "threshold": 0.0}),
    ("Dropout", {"name": "DropOut03", "rate": 0.6}),
    ("Dense", {"name": "Dense01", "units": 10, "activation": "softmax", "use_bias": True}),
]


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return build(filters=[5, 5, 5], dense_units=7, dropout=0.2, dense_dropout=0.6)


def test_each_layer_is_the_tutorials(model: keras.Model) -> None:
    assert model.name == "tutorial"
    assert (model.input_shape, model.output_shape) == ((None, 32, 32, 3), (None, 10))
    for layer, (kind, settings) in zip(model.layers, LAYERS, strict=True):
        assert type(layer).__name__ == kind
        found = layer.get_config()
        assert {name: found[name] for name in settings} == settings


def test_weights_start_as_glorots(model: keras.Model) -> None:
    """Kernels uniform up to the root of 6 / (inputs + outputs of a weight), biases zero."""
    for layer in model.layers:
        if hasattr(layer, "kernel"):
            assert isinstance(layer.kernel_initializer, keras.initializers.GlorotUniform)
            assert not layer.use_bias or not layer.bias.numpy().any()
