"""The residual network for CIFAR-10: its size, its answers by formulas in NumPy, its file."""

from pathlib import Path

import numpy as np
import pytest

from stages import device as device  # First, since TensorFlow reads what it sets.
from stages.models.resnet import ResNet
from stages.models.stock_layers import with_stock_layers
from stages.train.phases import at_side
from stages.train.saving import save_model

import keras  # isort: skip

Numbers = np.ndarray
DEPTH, WIDTH = 14, 3
# Keras's defaults.
EPSILON = 0.001


def build(images: Numbers, depth: int = DEPTH, width: int = WIDTH) -> keras.Model:
    network = ResNet(name="resnet", depth=depth, width=width)
    return network.build(images, np.random.default_rng(0), on_cpu=True)


@pytest.fixture(scope="module")
def images() -> Numbers:
    """Return random images, each colour with a mean and a spread of its own."""
    images = np.random.default_rng(0).random((6, 32, 32, 3), np.float32)
    spread, offset = np.array([[0.5, 0.9, 0.3], [0.0, 0.1, 0.4]], np.float32)
    return images * spread + offset


@pytest.fixture(scope="module")
def model(images: Numbers) -> keras.Model:
    """Return a tiny network of random weights."""
    generator = np.random.default_rng(1)
    model = build(images)
    for variable in model.variables:
        if "moving_variance" in variable.path or "gamma" in variable.path:
            variable.assign(generator.uniform(0.5, 2, variable.shape))
        elif not variable.path.startswith("normalization"):
            variable.assign(generator.normal(0, 0.3, variable.shape))
    return model


def parameters(depth: int) -> int:
    """Return how many numbers learn, by figure 3 and section 4.2 of the paper.

    6 n layers in groups of 2 n for 16, 32 and 64 filters; a normalization of two numbers for each
    filter after each; shortcuts have none.
    """
    n = (depth - 2) // 6
    layers = [(3, 16), *[(16, 16)] * 2 * n]
    for filters in (32, 64):
        layers += [(filters // 2, filters), *[(filters, filters)] * (2 * n - 1)]
    assert len(layers) + 1 == depth
    return sum(9 * inputs * outputs + 2 * outputs for inputs, outputs in layers) + 64 * 10 + 10


# Layers and millions of parameters: table 6 of arXiv 1512.03385.
PUBLISHED = [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)]


@pytest.mark.parametrize(("depth", "millions"), PUBLISHED)
def test_it_has_the_published_size(images: Numbers, depth: int, millions: float) -> None:
    expected = parameters(depth)
    assert expected / 1e6 == pytest.approx(millions, abs=0.03 if depth == 110 else 0.005)
    model = build(images[:2], depth, 16)
    assert sum(weight.numpy().size for weight in model.trainable_weights) == expected
    weighted = [layer for layer in model.layers if hasattr(layer, "kernel")]
    assert len(weighted) == depth


def test_means_of_many_pixels_are_not_rounded() -> None:
    """Added up in float32, a million pixels lose a thousandth and more."""
    generator = np.random.default_rng(0)
    images = generator.normal([0.3, 0.5, 0.7], [0.01, 0.02, 0.03], (1000, 32, 32, 3))
    images = images.astype(np.float32)
    layer = build(images, 8, 1).layers[1]
    exact = images.astype(np.float64)
    np.testing.assert_allclose(layer.mean.numpy().ravel(), exact.mean((0, 1, 2)), 1e-6)
    np.testing.assert_allclose(layer.variance.numpy().ravel(), exact.var((0, 1, 2)), 1e-6)


def test_by_default_it_has_20_layers(images: Numbers) -> None:
    model = ResNet(name="resnet").build(images[:2], np.random.default_rng(0), on_cpu=False)
    assert sum(weight.numpy().size for weight in model.trainable_weights) == parameters(20)
    assert (model.name, model.input_shape, model.output_shape) == (
        "resnet",
        (None, 32, 32, 3),
        (None, 10),
    )
    assert [layer.name for layer in model.inputs] == ["images"]


def test_each_third_halves_the_side_and_doubles_the_filters(model: keras.Model) -> None:
    shapes = [layer.output.shape[1:] for layer in model.layers if hasattr(layer, "kernel")]
    first, second, third = (32, 32, 3), (16, 16, 6), (8, 8, 12)
    assert shapes == [first, *[first] * 4, *[second] * 4, *[third] * 4, (10,)]


def convolved(x: Numbers, kernel: Numbers, strides: int) -> Numbers:
    """Return images convolved around every pixel, or every other one, zero padded."""
    x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))
    windows = windows[:, ::strides, ::strides]
    return np.einsum("nyxcij,ijcf->nyxf", windows, kernel, optimize=True)


def expected_answers(model: keras.Model, images: Numbers, of_all: Numbers) -> Numbers:
    """Return the probabilities of the paper's network with these weights."""
    double = of_all.astype(np.float64)
    x = (images - double.mean((0, 1, 2))) / double.std((0, 1, 2))
    kinds: dict[str, list[list[Numbers]]] = {"Conv2D": [], "FusedBatchNormalization": []}
    for of_model in model.layers:
        if type(of_model).__name__ in kinds:
            weights = [weight.astype(np.float64) for weight in of_model.get_weights()]
            kinds[type(of_model).__name__].append(weights)
    layers = zip(*kinds.values(), strict=True)

    def layer(x: Numbers, strides: int = 1) -> Numbers:
        (kernel,), (gamma, beta, mean, variance) = next(layers)
        x = convolved(x, kernel, strides)
        return gamma * (x - mean) / np.sqrt(variance + EPSILON) + beta

    x = np.maximum(layer(x), 0)
    for strides in (1, 1, 2, 1, 2, 1):
        y = layer(np.maximum(layer(x, strides), 0))
        # Option A: every other pixel, and zeros in the channels that are new, half on each side.
        shortcut = np.zeros(y.shape)
        before = (y.shape[-1] - x.shape[-1]) // 2
        shortcut[..., before : before + x.shape[-1]] = x[:, ::strides, ::strides]
        x = np.maximum(y + shortcut, 0)
    assert next(layers, None) is None
    kernel, bias = model.get_layer("logits").get_weights()
    logits = x.mean((1, 2)) @ kernel + bias
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


@pytest.mark.parametrize("side", [32, 24, 9, 1])
def test_answers_are_those_of_the_papers_network(
    model: keras.Model, images: Numbers, side: int
) -> None:
    """Also of the network for another side, whose weights are the same."""
    part = images[:, :side, :side]
    expected = expected_answers(model, part, images)
    assert expected.max() - expected.min() > 0.01
    np.testing.assert_allclose(at_side(model, side)(part, training=False), expected, atol=2e-5)


def test_shortcuts_take_every_other_pixel_and_fill_up_with_zeros(images: Numbers) -> None:
    """Where the convolutions give zero, what is left of an image is its shortcut."""
    model = build(images, depth=8, width=2)
    kernel = np.zeros((3, 3, 3, 2))
    kernel[1, 1, :2] = np.eye(2)
    first, *others = [layer for layer in model.layers if type(layer).__name__ == "Conv2D"]
    first.kernel.assign(kernel)
    for layer in others:
        layer.kernel.assign(np.zeros(layer.kernel.shape))
    double = images.astype(np.float64)
    standardized = (images - double.mean((0, 1, 2))) / double.std((0, 1, 2))
    start = np.maximum(standardized[..., :2], 0) / np.sqrt(1 + EPSILON)
    ends = [layer for layer in model.layers if type(layer).__name__ == "Add"]
    outputs = keras.Model(model.input, [layer.output for layer in ends])(images)
    zero = np.zeros((6, 16, 16, 1))
    second = np.concatenate([zero, start[:, ::2, ::2], zero], axis=-1)
    third = np.pad(start[:, ::4, ::4], ((0, 0), (0, 0), (0, 0), (3, 3)))
    for found, expected in zip(outputs, (start, second, third), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_kernels_start_as_hes(images: Numbers) -> None:
    """Normal, of variance 2 / inputs of a filter; normalizations as if they were not there."""
    keras.utils.set_random_seed(0)
    model = build(images[:2], depth=8, width=16)
    for layer in model.layers:
        if type(layer).__name__ == "Conv2D":
            kernel = layer.kernel.numpy()
            assert kernel.std() == pytest.approx(np.sqrt(2 / kernel[..., 0].size), rel=0.1)
            assert kernel.mean() == pytest.approx(0, abs=0.2 * float(kernel.std()))
            assert not layer.use_bias
        if "BatchNormalization" in type(layer).__name__:
            for weights, value in zip(layer.get_weights(), (1, 0, 0, 1), strict=True):
                np.testing.assert_array_equal(weights, np.full(weights.shape, value))


def test_keras_alone_loads_it(folder: Path, model: keras.Model, images: Numbers) -> None:
    save_model(with_stock_layers(model), Path("model.keras"))
    loaded = keras.saving.load_model("model.keras", safe_mode=True)
    assert {type(layer).__module__.partition(".")[0] for layer in loaded.layers} == {"keras"}
    expected = model(images, training=False)
    np.testing.assert_allclose(loaded(images, training=False), expected, atol=1e-6)
    np.testing.assert_allclose(loaded(images), expected_answers(model, images, images), atol=2e-5)


@pytest.mark.slow
def test_the_deepest_one_is_built_copied_and_made_for_small_images(images: Numbers) -> None:
    model = build(images, depth=200, width=1)
    assert with_stock_layers(model).count_params() == model.count_params()
    assert at_side(model, 8).input_shape == (None, 8, 8, 3)
