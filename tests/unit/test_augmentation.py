"""Test-time augmentation: the views, their weights, and the mean of the answers."""

import re
from itertools import count

import numpy as np
import pytest
import scipy.ndimage

from stages import device as device  # First, since TensorFlow reads what it sets.
from stages.answers import answered
from stages.evaluate.augmentation import predict, views
from stages.evaluate.params import Tta
from tests.unit.terminal import make_terminal

import keras  # isort: skip

WEIGHTS = np.random.default_rng(1).normal(0, 0.05, (32 * 32 * 3, 10)).astype(np.float32)
BIAS = np.linspace(-1, 1, 10, dtype=np.float32)
IMAGES = np.random.default_rng(2).random((7, 32, 32, 3), np.float32)


def dense(weights: np.ndarray, bias: np.ndarray) -> keras.Model:
    """Return a model of one dense layer and softmax."""
    images = keras.Input((32, 32, 3))
    layer = keras.layers.Dense(10, activation="softmax")
    model = keras.Model(images, layer(keras.layers.Flatten()(images)))
    model.set_weights([weights, bias])
    return model


@pytest.fixture(scope="module")
def model() -> keras.Model:
    """Return a model that has no symmetry."""
    return dense(WEIGHTS, BIAS)


def softmax(logits: np.ndarray) -> np.ndarray:
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def logits_of(images: np.ndarray) -> np.ndarray:
    return images.astype(np.float64).reshape(len(images), -1) @ WEIGHTS + BIAS


def moved(images: np.ndarray, pixels: int) -> np.ndarray:
    """Move images down and right; beyond the border is what is before it, but the border once."""
    return scipy.ndimage.shift(images, (0, pixels, pixels, 0), order=0, mode="mirror")


def test_views_by_hand() -> None:
    image = np.arange(9, dtype=np.float32).reshape(1, 3, 3, 1)
    (weight, found), *others = views(image, "none")
    assert (weight, found.tolist(), others) == (1, image.tolist(), [])

    mirrored = [[2, 1, 0], [5, 4, 3], [8, 7, 6]]
    flips = [(weight, view[0, :, :, 0].tolist()) for weight, view in views(image, "flip")]
    assert flips == [(0.5, image[0, :, :, 0].tolist()), (0.5, mirrored)]

    # Up and left, the border mirrored without its outermost row; then down and right.
    down = [[4, 3, 4], [1, 0, 1], [4, 3, 4]]
    up = [[4, 5, 4], [7, 8, 7], [4, 5, 4]]
    six = [(weight, view[0, :, :, 0].tolist()) for weight, view in views(image, "flip_translate")]
    assert six[:2] == [(0.25, view) for _, view in flips]
    for (weight, view), expected in zip(six[2::2], (down, up), strict=True):
        assert (weight, view) == (0.125, expected)
    for (weight, view), (_, other) in zip(six[3::2], six[2::2], strict=True):
        assert (weight, view) == (0.125, [row[::-1] for row in other])


def test_views_of_images_that_are_not_square() -> None:
    """Neither images nor colours are moved or mirrored, and each side keeps its length."""
    images = np.random.default_rng(0).random((2, 4, 5, 3), np.float32)
    found = views(images, "flip_translate")
    assert sum(weight for weight, _ in found) == 1
    expected = [images, moved(images, 1), moved(images, -1)]
    for (_, view), image in zip(found[::2], expected, strict=True):
        np.testing.assert_array_equal(view, image)
    for (_, view), image in zip(found[1::2], expected, strict=True):
        np.testing.assert_array_equal(view, np.flip(image, axis=2))


@pytest.mark.parametrize("tta", ["none", "flip", "flip_translate"])
def test_logits_of_the_views_are_averaged(model: keras.Model, tta: Tta) -> None:
    mean = logits_of(IMAGES)
    if tta == "flip":
        mean = (mean + logits_of(IMAGES[:, :, ::-1])) / 2
    if tta == "flip_translate":
        shifted = [moved(IMAGES, 1), moved(IMAGES, -1)]
        mean = (mean + logits_of(IMAGES[:, :, ::-1])) / 4
        mean += sum(logits_of(view) + logits_of(view[:, :, ::-1]) for view in shifted) / 8
    found, plain = predict(model, IMAGES, tta, 7)
    assert found.dtype == plain.dtype == np.float32
    np.testing.assert_allclose(found, softmax(mean), rtol=1e-5)
    np.testing.assert_allclose(plain, softmax(logits_of(IMAGES)), rtol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 3, 6, 7, 100])
def test_answers_do_not_depend_on_the_batch_size(model: keras.Model, batch_size: int) -> None:
    expected = softmax(logits_of(IMAGES))
    np.testing.assert_allclose(answered(model, IMAGES, batch_size), expected, rtol=1e-5)
    found, _ = predict(model, IMAGES, "flip", batch_size)
    np.testing.assert_allclose(found, predict(model, IMAGES, "flip", 7)[0], rtol=1e-5)


def test_batches_are_of_the_size_asked_for() -> None:
    """The last one has what is left; memory is taken for one of them at a time."""
    sizes = []

    class Model:
        def predict_on_batch(self, images: np.ndarray) -> np.ndarray:
            sizes.append(len(images))
            return np.full((len(images), 10), 0.1, np.float32)

    predict(Model(), IMAGES, "flip", 3)
    assert sizes == [3, 3, 1, 3, 3, 1]


def test_a_bar_counts_the_batches_on_a_terminal(
    model: keras.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names the view, and leaves no trace."""
    terminal = make_terminal(monkeypatch)
    # A second passes whenever the bar looks, so that it shows each batch.
    monkeypatch.setattr("tqdm.std.time", count().__next__)
    predict(model, IMAGES, "flip", 3)
    shown = re.findall(r"(view \d/\d): .*?(\d)/(\d) .*?[\d?/](batch)[\]/]", terminal.getvalue())
    assert shown == [(f"view {view}/2", done, "3", "batch") for view in (1, 2) for done in "0123"]
    assert "\n" not in terminal.getvalue()
    assert terminal.getvalue().rpartition("batch")[2].endswith("\r")


def test_a_probability_of_zero_is_taken_for_the_smallest_of_float32() -> None:
    """Its logarithm would be infinite, and the mean of two such no number.

    By the pixel on the left, the image is of class 0 for sure, and its mirror image of class 1.
    The smallest probability, 2 ** -126, and 1 have 2 ** -63 for their geometric mean.
    """
    weights = np.zeros((32, 32, 3, 10), np.float32)
    weights[0, 0, 0, 0] = weights[0, 31, 0, 1] = 1000
    image = np.zeros((1, 32, 32, 3), np.float32)
    image[0, 0, 0, 0] = 1
    sure = dense(weights.reshape(-1, 10), np.zeros(10, np.float32))
    found, plain = predict(sure, image, "flip", 1)
    np.testing.assert_array_equal(plain, [[1] + [0] * 9])
    # Of both others, 2 ** -126 is the mean, which is 2 ** -64 of what is shared.
    np.testing.assert_allclose(found, [[0.5, 0.5, *[2.0**-64] * 8]], rtol=1e-4)
