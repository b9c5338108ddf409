"""What is done to images, by its formula in NumPy or by another library."""

from typing import get_args

import numpy as np
import pytest
import tensorflow as tf
from scipy.signal import convolve2d

from stages.corruptions import FUNCTIONS, Corruption, corrupted


@pytest.fixture
def images() -> np.ndarray:
    """Return smooth random images, whole grey levels as float32 in [0, 1]."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (6, 8, 8, 3)).repeat(4, 1).repeat(4, 2)
    drawn = (coarse + generator.integers(-9, 10, coarse.shape)).clip(0, 255)
    return (drawn / 255).astype(np.float32)


def levels(images: np.ndarray) -> np.ndarray:
    """Return the grey levels of images, which must be whole ones."""
    found = images.astype(float) * 255
    np.testing.assert_allclose(found, np.rint(found), atol=1e-4)
    return np.rint(found)


def test_each_has_its_function() -> None:
    assert [*FUNCTIONS] == [*get_args(Corruption)]


@pytest.mark.parametrize("corruption", get_args(Corruption))
def test_images_stay_images(images: np.ndarray, corruption: Corruption) -> None:
    """The same in every run, and of an image alone as of the first of many."""
    before = images.copy()
    found = corrupted(images, corruption)
    assert (found.shape, found.dtype) == (images.shape, np.float32)
    assert (found.min() >= 0, found.max() <= 1) == (True, True)
    levels(found)
    np.testing.assert_array_equal(images, before)
    assert (found != images).any()
    np.testing.assert_array_equal(corrupted(images, corruption), found)
    np.testing.assert_array_equal(corrupted(images[:1], corruption), found[:1])


@pytest.mark.parametrize(("corruption", "deviation"), [("noise_8", 8), ("noise_20", 20)])
def test_noise_is_gaussian(corruption: Corruption, deviation: float) -> None:
    grey = np.full((20, 32, 32, 3), 128 / 255, np.float32)
    added = levels(corrupted(grey, corruption)) - 128
    count = added.size
    assert abs(added.mean()) < 4 * deviation / count**0.5
    # Rounding adds a twelfth of a level to the variance.
    assert added.std() == pytest.approx((deviation**2 + 1 / 12) ** 0.5, rel=4 / (2 * count) ** 0.5)
    within = np.mean(np.abs(added) <= deviation)
    # Of the normal distribution, half a level more.
    share = {8: 0.7119, 20: 0.6946}[int(deviation)]
    assert within == pytest.approx(share, abs=0.01)
    # No pixel, colour or image has another's.
    pairs = [(added[1:], added[:-1]), (added[..., 1:], added[..., :-1])]
    assert all(abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.02 for a, b in pairs)


def test_noise_is_what_numpy_draws_first() -> None:
    grey = np.full((2, 32, 32, 3), 100 / 255, np.float32)
    drawn = np.random.default_rng(0).standard_normal(grey.shape, np.float32)
    np.testing.assert_array_equal(levels(corrupted(grey, "noise_20")), np.rint(100 + 20 * drawn))


def test_noise_ends_at_black_and_white() -> None:
    black = levels(corrupted(np.zeros((5, 32, 32, 3), np.float32), "noise_20"))
    assert black.min() == 0
    assert 0.4 < (black == 0).mean() < 0.6


QUALITIES: dict[Corruption, int] = {"jpeg_90": 90, "jpeg_75": 75, "jpeg_50": 50}


@pytest.mark.parametrize(("corruption", "quality"), QUALITIES.items())
def test_jpeg_is_that_of_tensorflow(
    images: np.ndarray, corruption: Corruption, quality: int
) -> None:
    """Its library is libjpeg-turbo, too, and halves the colours' rows and columns by default."""
    expected = []
    for image in images:
        content = tf.io.encode_jpeg(np.rint(image * 255).astype(np.uint8), quality=quality)
        expected.append(tf.io.decode_jpeg(content, dct_method="INTEGER_ACCURATE").numpy())
    np.testing.assert_array_equal(levels(corrupted(images, corruption)), np.stack(expected))


@pytest.mark.parametrize(("corruption", "deviation"), [("blur_0.6", 0.6), ("blur_1", 1.0)])
def test_blur_is_a_product_with_a_gaussian(
    images: np.ndarray, corruption: Corruption, deviation: float
) -> None:
    offsets = np.arange(-5, 6)
    line = np.exp(-(offsets**2) / (2 * deviation**2))
    kernel = np.outer(line, line) / line.sum() ** 2
    padded = np.pad(images * 255.0, ((0, 0), (5, 5), (5, 5), (0, 0)), "edge")
    expected = np.empty(images.shape)
    for image in range(len(images)):
        for colour in range(3):
            expected[image, ..., colour] = convolve2d(padded[image, ..., colour], kernel, "valid")
    np.testing.assert_allclose(levels(corrupted(images, corruption)), expected, atol=0.6)


def test_brightness_contrast_and_pixels(images: np.ndarray) -> None:
    given = images.astype(float) * 255
    brighter = levels(corrupted(images, "brightness_40"))
    np.testing.assert_allclose(brighter, np.minimum(given + 40, 255), atol=0.51)
    paler = levels(corrupted(images, "contrast_50"))
    np.testing.assert_allclose(paler, (given + given.mean((1, 2), keepdims=True)) / 2, atol=0.51)
    coarse = levels(corrupted(images, "pixelation_16"))
    corners = [given[:, row::2, column::2] for row in (0, 1) for column in (0, 1)]
    for row in (0, 1):
        for column in (0, 1):
            np.testing.assert_allclose(
                coarse[:, row::2, column::2], np.mean(corners, axis=0), atol=0.51
            )
