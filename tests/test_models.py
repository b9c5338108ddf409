"""The networks, the layer with the fused kernel, and the file that a model is saved to."""

import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages import device as device  # First, since TensorFlow reads what it sets.
from stages.models import airbench, tutorial
from stages.models.compiled_gelu import CompiledGelu
from stages.models.fused_batch_normalization import FusedBatchNormalization
from stages.models.stock_layers import with_stock_layers
from stages.models.winograd import FEWEST_WEIGHTS, WinogradConv2D, transforms
from stages.train.saving import save_model
from tests.project import run

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


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).random((200, 32, 32, 3), np.float32)


@pytest.fixture
def model(images: np.ndarray) -> keras.Model:
    """Return a small airbench network, as it is before training."""
    return airbench.build([24, 96, 96], 0.6, 1e-12, images, 5e-4, np.random.default_rng(0), True)


def test_tutorial_is_the_tutorials_network() -> None:
    model = tutorial.build(64, 512, 0.25, 0.5)
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


def test_airbench94_has_the_published_size(images: np.ndarray) -> None:
    model = airbench.build([64, 256, 256], 0.6, 1e-12, images, 5e-4, np.random.default_rng(0), True)
    # 24 biases, six convolutions, six offsets and the head learn.
    convolutions = 9 * (24 * 64 + 64 * 64 + 64 * 256 + 3 * 256 * 256)
    trainable = 24 + convolutions + 2 * 64 + 4 * 256 + 2560
    assert sum(int(tf.size(weight)) for weight in model.trainable_weights) == trainable


def test_whitening_decorrelates_patches(images: np.ndarray, model: keras.Model) -> None:
    normalization = model.layers[1]
    outputs = model.get_layer("whitening")(normalization(images)).numpy()
    first = outputs[..., :12].reshape(-1, 12).astype(np.float64)
    np.testing.assert_allclose(first.T @ first / len(first), np.eye(12), atol=2e-2)
    np.testing.assert_array_equal(outputs[..., 12:], -outputs[..., :12])


def test_convolutions_start_by_passing_their_inputs_on(model: keras.Model) -> None:
    x = np.random.default_rng(1).random((2, 8, 8, 24), np.float32)
    outputs = model.get_layer("block2a")(x).numpy()
    np.testing.assert_allclose(outputs[..., :24], x, atol=1e-6)
    assert np.abs(outputs[..., 24:]).min() > 0


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("scale", [True, False])
def test_fused_normalization_equals_keras(training: bool, scale: bool) -> None:
    x = np.random.default_rng(0).normal(3, 2, (16, 5, 7, 4)).astype(np.float32)
    layers = [
        kind(momentum=0.6, epsilon=1e-3, scale=scale)
        for kind in (keras.layers.BatchNormalization, FusedBatchNormalization)
    ]
    results = []
    for layer in layers:
        layer.build(x.shape)
        layer.beta.assign([1.0, 2.0, 3.0, 4.0])
        with tf.GradientTape() as tape:
            inputs = tf.constant(x)
            tape.watch(inputs)
            outputs = layer(inputs, training=training)
            loss = tf.reduce_sum(outputs**3)
        gradients = tape.gradient(loss, [inputs, *layer.trainable_weights])
        results.append([outputs, *gradients, layer.moving_mean, layer.moving_variance])
    for expected, found in zip(*results, strict=True):
        # The fused kernel's moving variance is the unbiased one, n / (n - 1) of Keras's.
        np.testing.assert_allclose(found, expected, rtol=4e-3, atol=4e-3)


@pytest.mark.parametrize("shape", [(2, 2), (3, 3), (5, 9), (7, 7), (11, 15), (23, 31), (32, 32)])
def test_winograd_convolution_equals_keras(shape: tuple[int, int]) -> None:
    """Outputs and gradients, with Keras's convolution in float64 as the truth."""
    x = np.random.default_rng(0).normal(size=(6, *shape, 64))
    truth = keras.layers.Conv2D(80, 3, padding="same", activation="gelu", dtype="float64")
    ours = WinogradConv2D(80, 3, padding="same", activation="gelu")
    assert x.shape[-1] * ours.filters >= FEWEST_WEIGHTS
    results = []
    for layer in (truth, ours):
        layer.build(x.shape)
        layer.set_weights(truth.get_weights())
        with tf.GradientTape() as tape:
            inputs = tf.constant(x, layer.compute_dtype)
            tape.watch(inputs)
            outputs = layer(inputs, training=True)
            loss = tf.reduce_sum(outputs**2)
        results.append([outputs, *tape.gradient(loss, [inputs, *layer.trainable_weights])])
    for expected, found in zip(*results, strict=True):
        error = np.sqrt(np.mean((found.numpy() - expected) ** 2)) / np.std(expected)
        assert error < 1e-4


def test_winograd_convolution_leaves_few_weights_to_keras() -> None:
    x = np.random.default_rng(0).normal(size=(2, 7, 7, 4)).astype(np.float32)
    layer = WinogradConv2D(8, 3, padding="same")
    np.testing.assert_array_equal(layer(x, training=True), layer(x, training=False))


@pytest.mark.parametrize("training", [True, False])
def test_compiled_gelu_equals_keras(training: bool) -> None:
    """Outputs and gradients, with Keras's GELU in float64 as the truth."""
    x = np.linspace(-8, 8, 4001).reshape(1, -1)
    results = []
    for layer in (keras.layers.Activation("gelu", dtype="float64"), CompiledGelu()):
        with tf.GradientTape() as tape:
            inputs = tf.constant(x, layer.compute_dtype)
            tape.watch(inputs)
            outputs = layer(inputs, training=training)
            loss = tf.reduce_sum(outputs**2)
        results.append([outputs, tape.gradient(loss, inputs)])
    for expected, found in zip(*results, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-6)


def test_compiled_gelu_is_nothing_else() -> None:
    assert (
        CompiledGelu.from_config(CompiledGelu().get_config()).activation is keras.activations.gelu
    )
    with pytest.raises(ValueError, match="only 'gelu'"):
        CompiledGelu("relu")


def test_winograd_convolution_needs_fewer_products() -> None:
    for side, direct in [(3, 9), (7, 21), (15, 45), (31, 93)]:
        to_points, to_outputs, _ = transforms(side)
        assert to_points.shape == to_outputs.shape[::-1]
        assert len(to_points) ** 2 < 0.5 * direct**2


@pytest.mark.parametrize(
    "settings", [{"kernel_size": 5}, {"strides": 2}, {"padding": "valid"}, {"groups": 2}], ids=str
)
def test_winograd_convolution_refuses_what_it_cannot_do(settings: dict[str, Any]) -> None:
    layer = WinogradConv2D(**({"filters": 8, "kernel_size": 3, "padding": "same"} | settings))
    with pytest.raises(ValueError, match="only 3 x 3"):
        layer.build((None, 8, 8, 4))


def test_network_at_another_side_shares_its_weights(model: keras.Model) -> None:
    small = airbench.at_side(model, 24)
    assert small.input_shape == (None, 24, 24, 3)
    assert small.output_shape == (None, 10)
    assert small.weights == model.weights


def test_saved_model_is_the_same_in_plain_keras(
    tmp_path: Path, images: np.ndarray, model: keras.Model
) -> None:
    for layer in model.layers:
        if isinstance(layer, FusedBatchNormalization):
            layer.moving_mean.assign(np.full(layer.moving_mean.shape, 0.1))
    save_model(with_stock_layers(model), tmp_path / "model.keras")
    np.save(tmp_path / "images.npy", images, allow_pickle=False)
    script = (
        "import keras, numpy as np;"
        "model = keras.saving.load_model('model.keras', safe_mode=True);"
        "np.save('probabilities.npy', model.predict(np.load('images.npy'), verbose=0))"
    )
    result = run([sys.executable, "-c", script], tmp_path, PYTHONPATH="")
    assert result.returncode == 0, result.stderr
    probabilities = np.load(tmp_path / "probabilities.npy", allow_pickle=False)
    np.testing.assert_allclose(probabilities, model.predict(images, verbose=0), atol=1e-5)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)


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
