"""The 3 x 3 convolution made for CPUs, next to Keras's in float64, and the form that it takes."""

import runpy
from typing import Any

import numpy as np
import pytest

from stages import device as device  # First, since TensorFlow reads what it sets.
from stages import processors
from stages.models import direct_convolution, fast_convolution, winograd
from stages.models.fast_convolution import FEWEST_WEIGHTS, FastConv2D

import keras  # isort: skip
import tensorflow as tf  # isort: skip


# By precision, the largest error, relative to what is expected.
TOLERANCES = {"float32": 1e-4, "mixed_bfloat16": 0.02}
SHAPES = [(2, 2), (3, 3), (5, 9), (7, 7), (11, 15), (23, 31), (32, 32)]


@pytest.mark.parametrize("precision", TOLERANCES)
@pytest.mark.parametrize("shape", SHAPES)
def test_fast_convolution_equals_keras(shape: tuple[int, int], precision: str) -> None:
    """Outputs and gradients, with Keras's convolution in float64 as the truth."""
    x = np.random.default_rng(0).normal(size=(6, *shape, 64))
    truth = keras.layers.Conv2D(80, 3, padding="same", activation="gelu", dtype="float64")
    ours = FastConv2D(80, 3, padding="same", activation="gelu", dtype=precision)
    assert x.shape[-1] * ours.filters >= FEWEST_WEIGHTS
    results = []
    for layer in (truth, ours):
        layer.build(x.shape)
        layer.set_weights(truth.get_weights())
        layer.bias.assign(np.linspace(-1, 1, 80))
        with tf.GradientTape() as tape:
            inputs = tf.constant(x, layer.compute_dtype)
            tape.watch(inputs)
            outputs = layer(inputs)
            loss = tf.reduce_sum(tf.cast(outputs, layer.variable_dtype) ** 2)
        results.append([outputs, *tape.gradient(loss, [inputs, *layer.trainable_weights])])
    kinds = [ours.compute_dtype, ours.compute_dtype, "float32", "float32"]
    assert [found.dtype.name for found in results[1]] == kinds
    for expected, found in zip(*results, strict=True):
        error = np.sqrt(np.mean((np.asarray(found, float) - expected) ** 2)) / np.std(expected)
        assert error < TOLERANCES[precision]


@pytest.mark.parametrize("shape", SHAPES)
def test_both_gradients_for_the_kernel_are_the_same(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int]
) -> None:
    """Of images side by side and one by one; the width decides, 7 pixels at most."""
    generator = np.random.default_rng(0)
    x, kernel = (
        tf.constant(generator.normal(size=size), tf.float32)
        for size in ((5, *shape, 3), (3, 3, 3, 5))
    )
    asked = []
    side_by_side = direct_convolution.side_by_side

    def noted(images: tf.Tensor) -> tf.Tensor:
        asked.append(images.shape[-1])
        return side_by_side(images)

    monkeypatch.setattr(direct_convolution, "side_by_side", noted)
    gradients = []
    for convolution in (direct_convolution.convolution, lambda a, b: tf.nn.conv2d(a, b, 1, "SAME")):
        with tf.GradientTape() as tape:
            tape.watch([x, kernel])
            loss = tf.reduce_sum(convolution(x, kernel) ** 3)
        gradients.append(tape.gradient(loss, [x, kernel]))
    for ours, theirs in zip(*gradients, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-3)
    assert asked == ([5, 3] if shape[1] <= 7 else [])


@pytest.mark.parametrize(
    ("images", "width", "expected"),
    [(1, 7, (1, 32)), (5, 7, (2, 32)), (8, 7, (2, 32)), (12, 5, (2, 36)), (9, 3, (2, 32))],
)
def test_images_side_by_side_are_as_wide_as_a_row(
    images: int, width: int, expected: tuple[int, int]
) -> None:
    """The images in order, a column of zeros after each, and as many of zeros as are missing."""
    x = np.random.default_rng(0).normal(size=(images, 4, width, 2)).astype(np.float32)
    joined = direct_convolution.side_by_side(tf.constant(x)).numpy()
    assert joined.shape == (expected[0], 4, expected[1], 2)
    places = (
        joined.reshape(expected[0], 4, -1, width + 1, 2).swapaxes(1, 2).reshape(-1, 4, width + 1, 2)
    )
    np.testing.assert_array_equal(places[:images, :, :width], x)
    assert not places[:images, :, width].any()
    assert not places[images:].any()


@pytest.mark.parametrize(
    ("precision", "channels", "form"),
    [
        ("float32", 5, "winograd"),
        ("float32", 4, None),
        ("mixed_bfloat16", 5, "direct"),
        ("mixed_bfloat16", 4, "direct"),
    ],
)
def test_the_form_goes_by_precision_and_size(
    monkeypatch: pytest.MonkeyPatch, precision: str, channels: int, form: str | None
) -> None:
    monkeypatch.setattr(fast_convolution, "FEWEST_WEIGHTS", 40)
    taken = []
    for name, module in (("winograd", winograd), ("direct", direct_convolution)):
        convolution = module.convolution

        def noted(x: tf.Tensor, k: tf.Tensor, name: str = name, f: Any = convolution) -> tf.Tensor:
            taken.append(name)
            return f(x, k)

        monkeypatch.setattr(module, "convolution", noted)
    layer = FastConv2D(8, 3, padding="same", dtype=precision)
    assert layer(np.ones((1, 7, 7, channels))).shape == (1, 7, 7, 8)
    assert taken == [form] * (form is not None)


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize(("channels", "is_minimal"), [(5, True), (4, False)])
def test_minimal_filtering_is_for_enough_weights(
    monkeypatch: pytest.MonkeyPatch, channels: int, is_minimal: bool, use_bias: bool
) -> None:
    """40 weights of a pixel are enough here; which of two ways it was, rounding tells."""
    monkeypatch.setattr(fast_convolution, "FEWEST_WEIGHTS", 40)
    x = np.random.default_rng(0).normal(size=(2, 7, 7, channels)).astype(np.float32)
    layers = [
        kind(8, 3, padding="same", use_bias=use_bias, activation="relu")
        for kind in (FastConv2D, keras.layers.Conv2D)
    ]
    for layer in layers:
        layer.build(x.shape)
        layer.set_weights(layers[0].get_weights())
    ours, theirs = (layer(x).numpy() for layer in layers)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert np.array_equal(ours, theirs) is not is_minimal


@pytest.mark.parametrize(
    ("instructions", "fewest"),
    [(["AVX2", "AVX512F"], 5000), (["X86_V4"], 5000), (["AVX2"], 1000), ([], 1000)],
)
def test_products_in_half_the_time_need_more_weights(
    monkeypatch: pytest.MonkeyPatch, instructions: list[str], fewest: int
) -> None:
    monkeypatch.setattr(processors, "INSTRUCTION_SETS", instructions)
    assert runpy.run_path(fast_convolution.__file__)["FEWEST_WEIGHTS"] == fewest


@pytest.mark.parametrize(
    "settings",
    [
        {"kernel_size": 5},
        {"kernel_size": (3, 1)},
        {"kernel_size": (1, 3)},
        {"strides": 2},
        {"strides": (1, 2)},
        {"padding": "valid"},
        {"dilation_rate": 2},
        {"dilation_rate": (2, 1)},
        {"groups": 2},
    ],
    ids=str,
)
def test_fast_convolution_refuses_what_it_cannot_do(settings: dict[str, Any]) -> None:
    settings = {"filters": 8, "kernel_size": 3, "padding": "same", "name": "block1a"} | settings
    with pytest.raises(ValueError, match="only 3 x 3") as caught:
        FastConv2D(**settings).build((None, 8, 8, 4))
    assert str(caught.value) == "block1a: only 3 x 3, padding same, strides 1, no groups"
