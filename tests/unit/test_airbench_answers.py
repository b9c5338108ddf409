"""What the networks of airbench94 and airbench96 compute, by formulas in NumPy."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import norm

from stages import device as device  # First, since TensorFlow reads what it sets.
from stages.models.airbench import Airbench
from stages.train.phases import at_side

import keras  # isort: skip

WIDTHS = [3, 5, 4]
MOMENTUM, EPSILON = 0.6, 0.01

Normalize = Callable[[str, np.ndarray], np.ndarray]


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Return random images, each colour with a mean and a spread of its own."""
    images = np.random.default_rng(0).random((6, 32, 32, 3), np.float32)
    spread, offset = np.array([[0.5, 0.9, 0.3], [0.0, 0.1, 0.4]], np.float32)
    return images * spread + offset


@pytest.fixture(scope="module", params=[2, 3])
def block_depth(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture(scope="module", params=[True, False], ids=["on a CPU", "elsewhere"])
def model(images: np.ndarray, block_depth: int, request: pytest.FixtureRequest) -> keras.Model:
    """Return a tiny network of random weights; the whitening images are the first four."""
    generator = np.random.default_rng(1)
    network = Airbench(
        name="airbench",
        widths=WIDTHS,
        block_depth=block_depth,
        whitening_images=4,
        whitening_epsilon=0.1,
        batch_norm_momentum=MOMENTUM,
        batch_norm_epsilon=EPSILON,
    )
    model = network.build(images, generator, request.param)
    for variable in model.variables:
        if "moving_variance" in variable.path:
            variable.assign(generator.uniform(0.5, 2, variable.shape))
        elif not variable.path.startswith("normalization"):
            variable.assign(generator.normal(0, 0.3, variable.shape))
    return model


def convolved(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Return images convolved by a kernel, without padding."""
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2], axis=(1, 2))
    return np.einsum("nyxcij,ijcf->nyxf", windows, kernel, optimize=True)


def pooled(x: np.ndarray) -> np.ndarray:
    """Return the maxima of 2 x 2 pixels; what is left over at the border is dropped."""
    count, height, width, channels = x.shape
    x = x[:, : height // 2 * 2, : width // 2 * 2]
    return x.reshape(count, height // 2, 2, width // 2, 2, channels).max((2, 4))


def expected_answers(
    weights: dict[str, np.ndarray],
    images: np.ndarray,
    whitening_images: np.ndarray,
    normalize: Normalize,
    block_depth: int,
) -> np.ndarray:
    """Return the probabilities of the paper's network with these weights."""
    double = whitening_images.astype(np.float64)
    x = (images - double.mean((0, 1, 2))) / double.std((0, 1, 2))
    x = convolved(x, weights["whitening/kernel"]) + weights["whitening/bias"]
    x *= norm.cdf(x)
    shortcut = x
    for block in (1, 2, 3):
        for letter in "abc"[:block_depth]:
            name = f"block{block}{letter}"
            x = convolved(np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), weights[f"{name}/kernel"])
            if letter == "a":
                x = pooled(x)
            x = normalize(name, x) + weights[f"{name}_normalization/beta"]
            if letter == "c":
                x += shortcut
            x *= norm.cdf(x)
            if letter == "a":
                shortcut = x
    logits = x.max((1, 2)) / WIDTHS[-1] @ weights["logits/kernel"]
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


def weights_of(model: keras.Model) -> dict[str, np.ndarray]:
    return {variable.path: variable.numpy().astype(np.float64) for variable in model.variables}


@pytest.mark.parametrize("side", [32, 24, 9])
def test_answers_are_those_of_the_papers_network(
    model: keras.Model, block_depth: int, images: np.ndarray, side: int
) -> None:
    """Also of the network for another side, whose weights are the same."""
    weights = weights_of(model)

    def by_moving_statistics(name: str, x: np.ndarray) -> np.ndarray:
        mean = weights[f"{name}_normalization/moving_mean"]
        return (x - mean) / np.sqrt(weights[f"{name}_normalization/moving_variance"] + EPSILON)

    smaller = at_side(model, side)
    assert smaller.input_shape == (None, side, side, 3)
    part = images[:, :side, :side]
    expected = expected_answers(weights, part, images[:4], by_moving_statistics, block_depth)
    np.testing.assert_allclose(smaller(part, training=False), expected, atol=1e-5)
    if side == 32:
        np.testing.assert_allclose(model(part, training=False), expected, atol=1e-5)


def test_a_training_step_normalizes_by_its_batch(
    model: keras.Model, block_depth: int, images: np.ndarray
) -> None:
    """And moves the moving statistics towards it, by 1 - momentum."""
    before = weights_of(model)
    batch: dict[str, np.ndarray] = {}

    def by_batch(name: str, x: np.ndarray) -> np.ndarray:
        batch[f"{name}_normalization/moving_mean"] = x.mean((0, 1, 2))
        # The fused kernel's moving variance is the unbiased one.
        batch[f"{name}_normalization/moving_variance"] = x.var((0, 1, 2), ddof=1)
        return (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + EPSILON)

    expected = expected_answers(before, images, images[:4], by_batch, block_depth)
    np.testing.assert_allclose(model(images, training=True), expected, atol=1e-5)
    after = weights_of(model)
    for path, values in before.items():
        moved = 0.6 * values + 0.4 * batch[path] if path in batch else values
        np.testing.assert_allclose(after[path], moved, rtol=1e-4, atol=1e-5, err_msg=path)
    assert batch.keys() == {path for path in before if "moving" in path}


def test_network_at_another_side_shares_its_weights(model: keras.Model) -> None:
    small = at_side(model, 24)
    assert small.input_shape == (None, 24, 24, 3)
    assert small.output_shape == (None, 10)
    assert small.weights == model.weights
