"""What is done to images, by its formula in NumPy or by another library."""

from typing import get_args

import numpy as np
import pytest
from scipy.signal import convolve

from pipeline.common.config import Corruption
from pipeline.common.shell import UserError
from pipeline.data.corruptions import corrupted

import tensorflow as tf

# Smooth random images, whole grey levels.
GENERATOR = np.random.default_rng(0)
COARSE = GENERATOR.integers(0, 256, (6, 8, 8, 3)).repeat(4, 1).repeat(4, 2)
GREY = (COARSE + GENERATOR.integers(-9, 10, COARSE.shape)).clip(0, 255)
IMAGES = (GREY / 255).astype(np.float32)


def levels(images: np.ndarray) -> np.ndarray:
    """Return the grey levels of images, which must be whole ones."""
    found = images.astype(float) * 255
    np.testing.assert_allclose(found, np.rint(found), atol=1e-4)
    return np.rint(found)


@pytest.mark.parametrize("corruption", get_args(Corruption))
def test_images_stay_images(corruption: Corruption) -> None:
    """The same in every run, and of an image alone as of the first of many."""
    before = IMAGES.copy()
    found = corrupted(IMAGES, corruption)
    assert 0 <= found.min() < found.max() <= 1
    np.testing.assert_array_equal(IMAGES, before)
    np.testing.assert_array_equal(corrupted(IMAGES[:1], corruption), found[:1], strict=True)
    assert found.dtype == np.float32
    assert (found != IMAGES).any()


@pytest.mark.parametrize(("corruption", "deviation"), [("noise_8", 8), ("noise_20", 20)])
def test_noise_is_what_numpy_draws_first(corruption: Corruption, deviation: float) -> None:
    drawn = np.random.default_rng(0).standard_normal(GREY.shape, np.float32)
    expected = np.rint(GREY.astype(np.float32) + deviation * drawn).clip(0, 255)
    np.testing.assert_array_equal(levels(corrupted(IMAGES, corruption)), expected)


@pytest.mark.parametrize(("corruption", "quality"), [("jpeg_90", 90), ("jpeg_50", 50)])
def test_jpeg_is_that_of_tensorflow(corruption: Corruption, quality: int) -> None:
    """Its library is libjpeg-turbo, too, and halves the colours' rows and columns by default."""
    for image, found in zip(GREY, levels(corrupted(IMAGES, corruption)), strict=True):
        content = tf.io.encode_jpeg(image.astype(np.uint8), quality=quality)
        expected = tf.io.decode_jpeg(content, dct_method="INTEGER_ACCURATE")
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("corruption", "deviation"), [("blur_0.6", 0.6), ("blur_1", 1.0)])
def test_blur_is_a_product_with_a_gaussian(corruption: Corruption, deviation: float) -> None:
    offsets = np.arange(-5, 6)
    line = np.exp(-(offsets**2) / (2 * deviation**2))
    kernel = np.outer(line, line)[None, ..., None] / line.sum() ** 2
    padded = np.pad(GREY.astype(float), ((0, 0), (5, 5), (5, 5), (0, 0)), "edge")
    expected = convolve(padded, kernel, "valid")
    np.testing.assert_allclose(levels(corrupted(IMAGES, corruption)), expected, atol=0.6)


def test_brightness_contrast_and_pixels() -> None:
    brighter = levels(corrupted(IMAGES, "brightness_40"))
    np.testing.assert_allclose(brighter, np.minimum(GREY + 40, 255), atol=0.51)
    paler = levels(corrupted(IMAGES, "contrast_50"))
    np.testing.assert_allclose(paler, (GREY + GREY.mean((1, 2), keepdims=True)) / 2, atol=0.51)
    coarse = levels(corrupted(IMAGES, "pixelation_16"))
    means = GREY.reshape(-1, 16, 2, 16, 2, 3).mean((2, 4)).repeat(2, 1).repeat(2, 2)
    np.testing.assert_allclose(coarse, means, atol=0.51)


def test_images_that_cannot_have_such_large_pixels_are_refused() -> None:
    with pytest.raises(UserError, match="pixelation_16: images of 28 x 28 pixels"):
        corrupted(np.zeros((1, 28, 28, 3), np.float32), "pixelation_16")
