"""The networks of airbench: their layers and the weights that they start from."""

from typing import Any

import numpy as np
import pytest

from stages import device as device  # First, since TensorFlow reads what it sets.
from stages.models import airbench
from stages.models.airbench import Airbench

import keras  # isort: skip
import tensorflow as tf  # isort: skip

WIDTHS = [3, 5, 4]
MOMENTUM, EPSILON, WHITENING_EPSILON = 0.6, 0.01, 0.05


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Return random images, each colour with a mean and a spread of its own."""
    images = np.random.default_rng(0).random((20, 32, 32, 3), np.float32)
    images[:, :, 1:, 0] += images[:, :, :-1, 0]
    spread, offset = np.array([[0.5, 0.9, 0.3], [0.0, 0.1, 0.4]], np.float32)
    return images * spread + offset


def build(images: np.ndarray, seed: int = 0, on_cpu: bool = True, **changed: Any) -> keras.Model:
    """Return a tiny network, some of its parameters changed."""
    settings = {
        "widths": WIDTHS,
        "whitening_epsilon": WHITENING_EPSILON,
        "batch_norm_momentum": MOMENTUM,
        "batch_norm_epsilon": EPSILON,
    }
    network = Airbench.model_validate({"name": "airbench"} | settings | changed)
    return network.build(images, np.random.default_rng(seed), on_cpu)


@pytest.fixture(scope="module")
def model(images: np.ndarray) -> keras.Model:
    """Return a tiny network, as it is before training."""
    return build(images)


def test_airbench94_has_the_published_size(images: np.ndarray) -> None:
    """By default, which is as in the paper."""
    network = Airbench.model_validate({"name": "airbench"})
    model = network.build(images, np.random.default_rng(0), on_cpu=True)
    # 24 biases, six convolutions, six offsets and the head learn.
    convolutions = 9 * (24 * 64 + 64 * 64 + 64 * 256 + 3 * 256 * 256)
    trainable = 24 + convolutions + 2 * 64 + 4 * 256 + 2560
    assert sum(int(tf.size(weight)) for weight in model.trainable_weights) == trainable


def test_airbench96_has_ten_convolutions(images: np.ndarray) -> None:
    """By the widths that are published for it."""
    widths = [128, 384, 512]
    model = build(images[:2], widths=widths, block_depth=3)
    kernels, inputs = 0, 24
    for width in widths:
        kernels += 9 * (inputs + 2 * width) * width
        inputs = width
    learns = 24 + kernels + 3 * sum(widths) + 5120
    assert sum(int(tf.size(weight)) for weight in model.trainable_weights) == learns
    assert sum(isinstance(layer, keras.layers.Conv2D) for layer in model.layers) == 10


CONVOLUTIONS = ["block1a", "block1b", "block2a", "block2b", "block3a", "block3b"]


def test_what_learns_has_its_name(model: keras.Model) -> None:
    assert model.name == "airbench"
    learns = {"whitening/bias", "logits/kernel"}
    for name in CONVOLUTIONS:
        learns |= {f"{name}/kernel", f"{name}_normalization/beta"}
    assert {variable.path for variable in model.trainable_variables} == learns
    names = [layer.name for layer in model.layers]
    assert (names[0], names[-1]) == ("images", "probabilities")


@pytest.mark.parametrize(
    ("on_cpu", "convolution", "pooling", "activation"),
    [
        (True, "FastConv2D", "MaxPooling2D", "CompiledGelu"),
        (False, "Conv2D", "CompiledMaxPooling2D", "Activation"),
    ],
)
def test_layers_stand_in_their_order(
    images: np.ndarray, on_cpu: bool, convolution: str, pooling: str, activation: str
) -> None:
    normalization = "FusedBatchNormalization"
    model = build(images[:2], on_cpu=on_cpu)
    assert [type(layer).__name__ for layer in model.layers] == [
        "InputLayer",
        "Normalization",
        "Conv2D",
        activation,
        *3
        * [
            *[convolution, pooling, normalization, activation],
            *[convolution, normalization, activation],
        ],
        *["GlobalMaxPooling2D", "Rescaling", "Dense", "Softmax"],
    ]
    # The gradient of "gelu" is the one that CompiledGelu has.
    assert [layer.activation for layer in model.layers if type(layer).__name__ == activation] == [
        keras.activations.gelu
    ] * 7


def patches(images: np.ndarray) -> np.ndarray:
    """Return every 2 x 2 patch as a row: pixels from left to right, colours within a pixel."""
    count, height, width, _ = images.shape
    return np.array(
        [
            images[n, y : y + 2, x : x + 2].ravel()
            for n in range(count)
            for y in range(height - 1)
            for x in range(width - 1)
        ]
    )


def assert_whitens(kernel: np.ndarray, of: np.ndarray, epsilon: float) -> None:
    """Assert that filters F have F F' = (C + epsilon)^-1 and F' C F diagonal, C of the patches."""
    assert kernel.shape == (2, 2, 3, 24)
    np.testing.assert_array_equal(kernel[..., 12:], -kernel[..., :12])
    filters = kernel[..., :12].reshape(12, 12).astype(np.float64)
    second_moments = of.T @ of / len(of)
    expected = np.linalg.inv(second_moments + epsilon * np.eye(12))
    np.testing.assert_allclose(filters @ filters.T, expected, rtol=1e-3, atol=1e-3)
    variances = np.linalg.svd(of / np.sqrt(len(of)), compute_uv=False) ** 2
    found = filters.T @ second_moments @ filters
    np.testing.assert_allclose(
        np.sort(np.diag(found)), np.sort(variances / (variances + epsilon)), 1e-3
    )
    np.testing.assert_allclose(found, np.diag(np.diag(found)), atol=1e-3)


def test_whitening_kernel_decorrelates_patches(images: np.ndarray) -> None:
    """Of images that are neither as high as wide nor alike in their rows and columns."""
    images = images[:5, :9, :14].astype(np.float64) - 0.5
    assert_whitens(airbench.whitening_kernel(images, 0.2), patches(images), 0.2)


def test_first_layer_whitens_normalized_images(images: np.ndarray, model: keras.Model) -> None:
    """And stays as it is: its bias alone learns, from zero."""
    double = images.astype(np.float64)
    normalized = (double - double.mean((0, 1, 2))) / double.std((0, 1, 2))
    whitening = model.get_layer("whitening")
    assert_whitens(whitening.kernel.numpy(), patches(normalized), WHITENING_EPSILON)
    np.testing.assert_array_equal(whitening.bias.numpy(), np.zeros(24))


def test_means_of_many_pixels_are_not_rounded() -> None:
    """Added up in float32, a million pixels lose a thousandth and more."""
    generator = np.random.default_rng(0)
    images = generator.normal([0.3, 0.5, 0.7], [0.01, 0.02, 0.03], (1000, 32, 32, 3))
    images = images.astype(np.float32)
    layer = build(images, whitening_images=1000).layers[1]
    exact = images.astype(np.float64)
    np.testing.assert_allclose(layer.mean.numpy().ravel(), exact.mean((0, 1, 2)), 1e-6)
    np.testing.assert_allclose(layer.variance.numpy().ravel(), exact.var((0, 1, 2)), 1e-6)


def test_whitening_decorrelates_patches(images: np.ndarray) -> None:
    model = build(images, whitening_epsilon=5e-4)
    normalization = model.layers[1]
    outputs = model.get_layer("whitening")(normalization(images)).numpy()
    first = outputs[..., :12].reshape(-1, 12).astype(np.float64)
    np.testing.assert_allclose(first.T @ first / len(first), np.eye(12), atol=2e-2)
    np.testing.assert_array_equal(outputs[..., 12:], -outputs[..., :12])


@pytest.mark.parametrize(
    ("shape", "passed"),
    [((3, 3, 4, 20), 4), ((3, 3, 20, 4), 4), ((3, 3, 5, 5), 5), ((5, 7, 2, 40), 2)],
)
def test_first_filters_pass_their_channel_on(shape: tuple[int, ...], passed: int) -> None:
    """The others are uniform between -1 and 1 over the root of the inputs of a filter."""
    kernel = airbench.partial_identity(shape, np.random.default_rng(0))
    height, width, inputs, outputs = shape
    assert kernel.shape == shape
    for index in range(passed):
        expected = np.zeros((height, width, inputs))
        expected[(height - 1) // 2, (width - 1) // 2, index] = 1
        np.testing.assert_array_equal(kernel[..., index], expected)
    if outputs == passed:
        return
    others = kernel[..., passed:]
    bound = (height * width * inputs) ** -0.5
    assert 0.95 * bound < others.max() < bound
    assert -bound < others.min() < -0.95 * bound
    assert others.std() == pytest.approx(bound / np.sqrt(3), rel=0.1)
    assert others.mean() == pytest.approx(0, abs=0.1 * bound)


def test_convolutions_start_by_passing_their_inputs_on(model: keras.Model) -> None:
    for name in CONVOLUTIONS:
        kernel = model.get_layer(name).kernel.numpy()
        inputs, filters = kernel.shape[2:]
        x = np.random.default_rng(1).random((2, 8, 8, inputs), np.float32)
        outputs = model.get_layer(name)(x).numpy()
        passed = min(inputs, filters)
        np.testing.assert_allclose(outputs[..., :passed], x[..., :passed], atol=1e-6)
        assert (outputs[..., passed:] != 0).all()


def test_weights_of_the_head_are_uniform_with_deviation_1(images: np.ndarray) -> None:
    model = build(images[:2], widths=[1, 1, 80])
    kernel = model.get_layer("logits").kernel.numpy()
    assert kernel.shape == (80, 10)
    assert kernel.std() == pytest.approx(1, 1e-5)
    # Of a uniform distribution with deviation 1, the bounds are the roots of 3.
    assert 1.65 < kernel.max() < 1.8
    assert -1.8 < kernel.min() < -1.65
    assert (kernel < 0).mean() == pytest.approx(0.5, abs=0.1)


def test_the_generator_draws_the_weights(images: np.ndarray, model: keras.Model) -> None:
    again, other = build(images), build(images, seed=1)
    for one, same in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, same)
    for name in ("block1b", "block2a", "logits"):
        weights = [one.get_layer(name).kernel.numpy() for one in (model, other)]
        # Blocks that get no wider have nothing to draw.
        assert np.array_equal(*weights) == (name == "block1b")
