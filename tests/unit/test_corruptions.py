"""What is done to images, by its formula in NumPy or by another library."""

from typing import get_args

import numpy as np
import pytest
from scipy.signal import convolve2d

from pipeline.common.config import Corruption
from pipeline.common.shell import UserError
from pipeline.data.corruptions import corrupted

import tensorflow as tf


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
def test_noise_is_what_numpy_draws_first(corruption: Corruption, deviation: float) -> None:
    grey = np.repeat(np.array([3, 100, 250], np.float32), 32 * 32 * 3).reshape(3, 32, 32, 3)
    drawn = np.random.default_rng(0).standard_normal(grey.shape, np.float32)
    expected = np.rint(grey + deviation * drawn).clip(0, 255)
    np.testing.assert_array_equal(levels(corrupted(grey / 255, corruption)), expected)


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
    means = given.reshape(-1, 16, 2, 16, 2, 3).mean((2, 4)).repeat(2, 1).repeat(2, 2)
    np.testing.assert_allclose(coarse, means, atol=0.51)


def test_images_that_cannot_have_such_large_pixels_are_refused() -> None:
    with pytest.raises(UserError, match="pixelation_16: images of 28 x 28 pixels"):
        corrupted(np.zeros((1, 28, 28, 3), np.float32), "pixelation_16")
