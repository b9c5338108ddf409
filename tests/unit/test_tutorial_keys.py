"""What each key makes of the tutorial's network."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.special import erf, expit

from stages import device as device  # First, since TensorFlow reads what it sets.
from tests.unit.test_tutorial import build

import keras  # isort: skip

SMALL: dict[str, Any] = {"filters": [2, 3, 4], "dense_units": 5}


def small(**settings: Any) -> keras.Model:
    return build(**SMALL | settings)


def kinds(model: keras.Model) -> list[str]:
    return [type(layer).__name__ for layer in model.layers]


def of_kind(model: keras.Model, kind: str) -> list[keras.layers.Layer]:
    return [layer for layer in model.layers if type(layer).__name__ == kind]


@pytest.mark.parametrize("filters", [[7], [2, 5], [1, 2, 3, 4, 5]], ids=str)
def test_there_are_as_many_convolutions_as_widths(filters: list[int]) -> None:
    model = small(filters=filters, pool_after=[1], kernel_size=2)
    convolutions = of_kind(model, "Conv2D")
    assert [layer.output.shape[-1] for layer in convolutions] == filters
    inputs = [3, *filters[:-1]]
    kernels = [(2, 2, *channels) for channels in zip(inputs, filters, strict=True)]
    assert [tuple(layer.kernel.shape) for layer in convolutions] == kernels
    block = ["Conv2D", "BatchNormalization", "Dropout"]
    head = ["Flatten", "Dense", "BatchNormalization", "ReLU", "Dropout", "Dense"]
    assert kinds(model) == [
        *block[:2],
        "MaxPooling2D",
        "Dropout",
        *(len(filters) - 1) * block,
        *head,
    ]
    assert len({layer.name for layer in model.layers}) == len(model.layers)
    assert model.output_shape == (None, 10)


@pytest.mark.parametrize("size", [1, 4, 32])
def test_kernels_have_their_size_and_keep_the_side(size: int) -> None:
    model = small(kernel_size=size, pool_after=[])
    for layer in of_kind(model, "Conv2D"):
        assert layer.kernel.shape[:2] == (size, size)
        assert layer.output.shape[1:3] == (32, 32)


# By their publications, approximations of Keras's not counted: Maas et al. 2013 give leaky_relu a
# slope of 0.01, Keras one of 0.2.
FORMULAS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "relu": lambda x: np.maximum(x, 0),
    "elu": lambda x: np.where(x > 0, x, np.expm1(x)),
    "gelu": lambda x: x * (1 + erf(x / np.sqrt(2))) / 2,
    "silu": lambda x: x * expit(x),
    "tanh": np.tanh,
}


@pytest.mark.parametrize("activation", FORMULAS)
def test_the_activation_follows_each_convolution_and_stands_around_the_last_normalization(
    activation: str,
) -> None:
    model = small(activation=activation)
    x = np.linspace(-3, 3, 25, dtype=np.float32)
    expected = FORMULAS[activation](x.astype(np.float64))
    activated = [*of_kind(model, "Conv2D"), model.get_layer("Dense00")]
    for layer in activated:
        np.testing.assert_allclose(layer.activation(x), expected, atol=1e-5)
    position = model.layers.index(model.get_layer("Batch_norm03"))
    assert model.layers[position - 1] is model.get_layer("Dense00")
    np.testing.assert_allclose(model.layers[position + 1](x[None])[0], expected, atol=1e-5)
    assert type(model.layers[position + 2]) is keras.layers.Dropout


def test_batch_normalization_may_be_left_out() -> None:
    """And only that."""
    expected = [kind for kind in kinds(small()) if kind != "BatchNormalization"]
    assert expected.count("Conv2D") == 3
    model = small(batch_norm=False)
    assert kinds(model) == expected
    # Kernels and biases of three convolutions, a kernel, and a kernel and a bias of the last layer.
    assert len(model.weights) == 2 * 3 + 1 + 2


@pytest.mark.parametrize(
    ("pool_after", "sides"),
    [
        ([], [32, 32, 32, 32, 32, 32]),
        ([1], [32, 16, 16, 16, 16, 16]),
        ([2, 3], [32, 32, 16, 8, 8, 8]),
        ([1, 2, 3, 5, 6], [32, 16, 8, 4, 4, 2]),
        ([6], [32, 32, 32, 32, 32, 32]),
    ],
    ids=str,
)
def test_pooling_follows_the_convolutions_that_are_named(
    pool_after: list[int], sides: list[int]
) -> None:
    """It halves the side for the next one, and for the dense layer; dropout comes after it."""
    model = small(filters=[2] * 6, pool_after=pool_after)
    assert [layer.output.shape[1] for layer in of_kind(model, "Conv2D")] == sides
    last = sides[-1] // 2 if 6 in pool_after else sides[-1]
    assert model.get_layer("Flatten00").output.shape == (None, 2 * last**2)
    for layer, after in zip(model.layers, model.layers[1:], strict=False):
        if type(layer).__name__ == "MaxPooling2D":
            assert layer.pool_size == (2, 2)
            assert type(after).__name__ == "Dropout"


def test_dense_units_and_dropouts() -> None:
    """By what dropout leaves of ones: the rest of them, scaled so that the mean stays."""
    model = small(dense_units=6, dropout=0.2, dense_dropout=0.75)
    assert [layer.units for layer in of_kind(model, "Dense")] == [6, 10]
    *after_convolutions, last = of_kind(model, "Dropout")
    assert len(after_convolutions) == 3
    ones = np.ones((1, 10_000), np.float32)
    for layer, share in [*((layer, 0.2) for layer in after_convolutions), (last, 0.75)]:
        left = layer(ones, training=True).numpy()
        assert (left == 0).mean() == pytest.approx(share, abs=0.03)
        np.testing.assert_allclose(left[left != 0], 1 / (1 - share), rtol=1e-5)
        np.testing.assert_array_equal(layer(ones, training=False), ones)
