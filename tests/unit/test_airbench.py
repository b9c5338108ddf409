"""The networks of airbench: the weights that they start from, and answers by formulas in NumPy."""

from typing import Any

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import norm

from pipeline.common.config import Airbench
from pipeline.networks import airbench

import keras

Numbers = np.ndarray
WIDTHS = [3, 5, 4]
MOMENTUM, EPSILON, WHITENING_EPSILON = 0.6, 0.01, 0.05
# Each colour with a mean and a spread of its own, neighbours in a row alike.
IMAGES = np.random.default_rng(0).random((20, 32, 32, 3), np.float32)
IMAGES[:, :, 1:, 0] += IMAGES[:, :, :-1, 0]
IMAGES = (IMAGES * [0.5, 0.9, 0.3] + [0.0, 0.1, 0.4]).astype(np.float32)
# Of the training images, those whose patches are whitened.
SAMPLE = IMAGES[:15].astype(np.float64)


def build(seed: int = 0, **changed: Any) -> keras.Model:
    settings = {
        "name": "airbench",
        "widths": WIDTHS,
        "whitening_images": len(SAMPLE),
        "whitening_epsilon": WHITENING_EPSILON,
        "batch_norm_momentum": MOMENTUM,
        "batch_norm_epsilon": EPSILON,
    }
    params = Airbench.model_validate(settings | changed)
    return airbench.build(params, IMAGES, 10, np.random.default_rng(seed), on_cpu=True)


def test_the_first_layer_whitens_patches() -> None:
    """The filters F are the components of C, the moments of the normalized patches, scaled."""
    whitening = build().get_layer("whitening")
    np.testing.assert_array_equal(whitening.bias, np.zeros(24))
    kernel = whitening.kernel.numpy().astype(np.float64)
    np.testing.assert_array_equal(kernel[..., 12:], -kernel[..., :12])
    normalized = (SAMPLE - SAMPLE.mean((0, 1, 2))) / SAMPLE.std((0, 1, 2))
    corners = [normalized[:, y : y + 31, x : x + 31] for y in (0, 1) for x in (0, 1)]
    patches = np.concatenate(corners, axis=-1).reshape(-1, 12)
    moments = patches.T @ patches / len(patches)
    filters = kernel[..., :12].reshape(12, 12)
    variances = np.linalg.eigvalsh(moments)
    expected = np.diag(1 / (variances + WHITENING_EPSILON))
    np.testing.assert_allclose(filters.T @ filters, expected, rtol=1e-3, atol=1e-3)
    expected *= variances
    np.testing.assert_allclose(filters.T @ moments @ filters, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("shape", [(3, 3, 20, 4), (5, 7, 2, 40)])
def test_first_filters_pass_their_channel_on(shape: tuple[int, ...]) -> None:
    """The others are uniform between -1 and 1 over the root of the inputs of a filter."""
    kernel = airbench.partial_identity(shape, np.random.default_rng(0))
    height, width, inputs, outputs = shape
    passed = min(inputs, outputs)
    expected = np.zeros((height, width, inputs, passed))
    expected[(height - 1) // 2, (width - 1) // 2] = np.eye(inputs, passed)
    np.testing.assert_array_equal(kernel[..., :passed], expected)
    if outputs > passed:
        others = kernel[..., passed:] * (height * width * inputs) ** 0.5
        assert 0.95 < abs(others).max() < 1
        assert others.std() == pytest.approx(1 / np.sqrt(3), rel=0.03)
        assert others.mean() == pytest.approx(0, abs=0.05)


def test_the_generator_draws_the_weights() -> None:
    """Those of the head are uniform with deviation 1, so their bounds are the roots of 3."""
    one, other = build(widths=[3, 5, 80]), build(widths=[3, 5, 80], seed=1)
    for name in ("block2a", "logits"):
        kernel, differs = (model.get_layer(name).kernel.numpy() for model in (one, other))
        assert not np.array_equal(kernel, differs)
    assert kernel.std() == pytest.approx(1, 1e-5)
    assert kernel.mean() == pytest.approx(0, abs=0.1)
    np.testing.assert_allclose([kernel.min(), kernel.max()], [-(3**0.5), 3**0.5], rtol=0.04)


def convolved(x: Numbers, kernel: Numbers) -> Numbers:
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2], axis=(1, 2))
    return np.einsum("nyxcij,ijcf->nyxf", windows, kernel, optimize=True)


def expected_answers(
    weights: dict[str, Numbers], images: Numbers, block_depth: int, training: bool
) -> tuple[Numbers, dict[str, Numbers]]:
    """Return the probabilities of the paper's network with these weights, and its statistics.

    In training, those of the batch, which normalize it; else the moving ones.
    """
    statistics = {path: values for path, values in weights.items() if "moving" in path}
    x = (images - SAMPLE.mean((0, 1, 2))) / SAMPLE.std((0, 1, 2))
    x = convolved(x, weights["whitening/kernel"]) + weights["whitening/bias"]
    x *= norm.cdf(x)
    shortcut = x
    for block in (1, 2, 3):
        for letter in "abc"[:block_depth]:
            name = f"block{block}{letter}"
            x = convolved(np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), weights[f"{name}/kernel"])
            name += "_normalization"
            if letter == "a":
                # What is left over at the border is dropped.
                windows = np.lib.stride_tricks.sliding_window_view(x, (2, 2), axis=(1, 2))
                x = windows[:, ::2, ::2].max((4, 5))
            if training:
                statistics[f"{name}/moving_mean"] = x.mean((0, 1, 2))
                statistics[f"{name}/moving_variance"] = x.var((0, 1, 2))
            deviation = np.sqrt(statistics[f"{name}/moving_variance"] + EPSILON)
            x = (x - statistics[f"{name}/moving_mean"]) / deviation + weights[f"{name}/beta"]
            if letter == "c":
                x += shortcut
            x *= norm.cdf(x)
            if letter == "a":
                shortcut = x
    logits = x.max((1, 2)) / WIDTHS[-1] @ weights["logits/kernel"]
    return softmax(logits, axis=1), statistics


@pytest.mark.parametrize("block_depth", [2, 3])
def test_answers_are_those_of_the_papers_network(block_depth: int) -> None:
    model = build(block_depth=block_depth)
    # What learns, and how many outputs it has.
    learns = {"whitening/bias": 24, "logits/kernel": 10}
    for block, width in enumerate(WIDTHS, start=1):
        for letter in "abc"[:block_depth]:
            learns[f"block{block}{letter}/kernel"] = width
            learns[f"block{block}{letter}_normalization/beta"] = width
    assert {v.path: v.shape[-1] for v in model.trainable_variables} == learns
    generator = np.random.default_rng(1)
    for variable in model.variables:
        if "moving_variance" in variable.path:
            variable.assign(generator.uniform(0.5, 2, variable.shape))
        else:
            variable.assign(generator.normal(0, 0.3, variable.shape))
    weights = {variable.path: variable.numpy().astype(np.float64) for variable in model.variables}
    for side, training in ((24, False), (9, False), (32, False), (32, True)):
        images = IMAGES[:6, :side, :side]
        expected, statistics = expected_answers(weights, images, block_depth, training)
        np.testing.assert_allclose(model(images, training=training), expected, atol=1e-5)
    for variable in model.variables:
        moved = weights[variable.path]
        if variable.path in statistics:
            moved = MOMENTUM * moved + (1 - MOMENTUM) * statistics[variable.path]
        # The fused kernel's moving variance is the unbiased one, of 6 x 3 x 3 pixels at least.
        np.testing.assert_allclose(variable, moved, rtol=0.02, atol=1e-5, err_msg=variable.path)
