"""The residual network for CIFAR-10: its published size, its answers by formulas in NumPy."""

import numpy as np
import pytest
from scipy.special import softmax

from pipeline.common.config import ResNet
from pipeline.networks import resnet
from tests.unit.test_airbench import IMAGES, Numbers, convolved

import keras


def build(depth: int, width: int) -> keras.Model:
    params = ResNet(name="resnet", depth=depth, width=width)
    return resnet.build(params, IMAGES, 10, np.random.default_rng(0), on_cpu=True)


# Layers and millions of parameters, of table 6 of arXiv 1512.03385.
@pytest.mark.parametrize(("depth", "millions"), [(20, 0.27), (56, 0.85)])
def test_it_has_the_published_size(depth: int, millions: float) -> None:
    learn = sum(weight.numpy().size for weight in build(depth, 16).trainable_weights)
    assert learn / 1e6 == pytest.approx(millions, abs=0.005)


def test_kernels_start_as_hes() -> None:
    """Normal, of variance 2 / inputs of a filter; normalizations as if they were not there."""
    keras.utils.set_random_seed(0)
    for layer in build(8, 16).layers:
        if type(layer).__name__ == "Conv2D":
            kernel = layer.kernel.numpy()
            assert kernel.std() == pytest.approx(np.sqrt(2 / kernel[..., 0].size), rel=0.1)
            assert kernel.mean() == pytest.approx(0, abs=0.2 * float(kernel.std()))
        if "BatchNormalization" in type(layer).__name__:
            for weights, value in zip(layer.get_weights(), (1, 0, 0, 1), strict=True):
                np.testing.assert_array_equal(weights, np.full(weights.shape, value))


def expected_answers(model: keras.Model, images: Numbers) -> Numbers:
    """Return the probabilities of the paper's network of 14 layers with these weights."""
    convolutions, normalizations = (
        [layer.get_weights() for layer in model.layers if isinstance(layer, kind)]
        for kind in (keras.layers.Conv2D, keras.layers.BatchNormalization)
    )
    layers = zip(convolutions, normalizations, strict=True)

    def layer(x: Numbers, strides: int = 1) -> Numbers:
        (kernel,), (gamma, beta, mean, variance) = next(layers)
        x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        x = convolved(x, kernel)[:, ::strides, ::strides]
        return gamma * (x - mean) / np.sqrt(variance + 0.001) + beta

    double = IMAGES.astype(np.float64)
    x = (images - double.mean((0, 1, 2))) / double.std((0, 1, 2))
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
    return softmax(x.mean((1, 2)) @ kernel + bias, axis=1)


def test_answers_are_those_of_the_papers_network() -> None:
    model = build(14, 3)
    generator = np.random.default_rng(1)
    for variable in model.variables:
        if "moving_variance" in variable.path or "gamma" in variable.path:
            variable.assign(generator.uniform(0.5, 2, variable.shape))
        else:
            variable.assign(generator.normal(0, 0.3, variable.shape))
    for side in (32, 24, 9, 1):
        images = IMAGES[:6, :side, :side]
        expected = expected_answers(model, images)
        assert expected.max() - expected.min() > 0.01
        np.testing.assert_allclose(model(images, training=False), expected, atol=2e-5)
