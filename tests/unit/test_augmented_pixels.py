"""What augmentation does to the pixels of training images: cutout, brightness, contrast, noise."""

import numpy as np
import pytest
from scipy import stats

from stages.train.augmentation import NORMALS
from stages.train.pixels import noise
from tests.unit.test_augmented_batches import COUNT, INDEX, SIDE, augmented
from tests.unit.test_augmented_batches import images as images


@pytest.mark.parametrize("size", [1, 2, 3, 5, SIDE])
def test_cutout_is_a_black_square_around_any_pixel(images: np.ndarray, size: int) -> None:
    """Partly outside where the pixel is near the border; nothing else changes."""
    squares = {}
    for middle in range(SIDE**2):
        row, column = divmod(middle, SIDE)
        top, left = row - size // 2, column - size // 2
        square = np.zeros((SIDE, SIDE), bool)
        square[max(top, 0) : max(top + size, 0), max(left, 0) : max(left + size, 0)] = True
        squares[square.tobytes()] = middle
    many = np.tile(INDEX, 40)
    found = augmented(images, index=many, cutout=size)
    black = (found == 0).all(3)
    np.testing.assert_array_equal(found, np.where(black[..., None], 0, images[many]))
    counts: dict[bytes, int] = dict.fromkeys(squares, 0)
    for square in black:
        counts[square.tobytes()] += 1
    assert len(counts) == len(squares)
    if len(squares) == SIDE**2:
        assert stats.chisquare([*counts.values()]).pvalue > 0.001
    assert min(counts.values()) > 0


def test_brightness_is_added_to_all_pixels(images: np.ndarray) -> None:
    """One number for each image, uniform up to the given one either way; from 0 to 1 at most."""
    # No value is cut off at both ends, so that the number can be read.
    middle = 0.4 + 0.2 * images
    many = np.tile(INDEX, 10)
    found = augmented(middle, index=many, brightness=0.3)
    added = found - middle[many]
    shift = added.mean((1, 2, 3))
    np.testing.assert_allclose(added.min((1, 2, 3)), shift, atol=1e-6)
    np.testing.assert_allclose(added.max((1, 2, 3)), shift, atol=1e-6)
    assert stats.kstest(shift, stats.uniform(-0.3, 0.6).cdf).pvalue > 0.001
    strong = augmented(images, index=many, brightness=0.9)
    shift = augmented(np.full_like(images, 0.5), index=many, brightness=0.4)[:, 0, 0, 0] - 0.5
    expected = np.clip(images[many] + shift[:, None, None, None] * (0.9 / 0.4), 0, 1)
    np.testing.assert_allclose(strong, expected, atol=1e-5)
    assert strong.dtype == np.float32


def test_contrast_scales_the_distance_from_the_mean_of_each_colour(images: np.ndarray) -> None:
    """By one number for each image, uniform around 1."""
    middle = 0.4 + 0.2 * images
    many = np.tile(INDEX, 10)
    found = augmented(middle, index=many, contrast=0.8)
    assert found.dtype == np.float32
    mean = middle[many].mean((1, 2), keepdims=True, dtype=np.float64)
    factors = (found - mean).std((1, 2)) / middle[many].std((1, 2))
    np.testing.assert_allclose(factors, factors[:, :1].repeat(3, 1), rtol=1e-4)
    expected = mean + factors[:, None, None, :1] * (middle[many] - mean)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert stats.kstest(factors[:, 0], stats.uniform(0.2, 1.6).cdf).pvalue > 0.001
    # The same numbers of images whose values leave the range from 0 to 1.
    mean = images[many].mean((1, 2), keepdims=True, dtype=np.float64)
    expected = mean + factors[:, None, None, :1] * (images[many] - mean)
    assert np.max(expected) > 1 > 0 > np.min(expected)
    strong = augmented(images, index=many, contrast=0.8)
    np.testing.assert_allclose(strong, expected.clip(0, 1), atol=1e-5)


def test_contrast_is_changed_after_brightness_and_cutout_is_black(images: np.ndarray) -> None:
    """Each draws the same as without the others; what is cut off is cut off at the end."""
    grey = np.full_like(images, 0.5)
    shift = augmented(grey, brightness=0.4)[:, 0, 0, 0] - 0.5
    steps = (
        np.where(np.arange(SIDE) % 2, np.float32(0.4), np.float32(0.6))[:, None, None] * grey * 2
    )
    factor = augmented(steps, contrast=0.5)[:, ::2].mean((1, 2, 3)) * 10 - 5
    bright = images[INDEX] + shift[:, None, None, None]
    mean = bright.mean((1, 2), keepdims=True)
    expected = (mean + factor[:, None, None, None] * (bright - mean)).clip(0, 1)
    expected[augmented(np.ones_like(images), cutout=3) == 0] = 0
    found = augmented(images, cutout=3, brightness=0.4, contrast=0.5)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_noise_is_gaussian_and_of_any_strength_up_to_the_given_one(images: np.ndarray) -> None:
    """Each image has its own; what leaves the range from 0 to 1 is cut off."""
    grey = np.full_like(images, 0.5)
    many = np.tile(INDEX, 10)
    found = augmented(grey, index=many, noise=0.1)
    assert found.dtype == np.float32
    added = (found - 0.5).reshape(len(many), -1).astype(float)
    size = added.shape[1]
    deviations = added.std(1)
    assert stats.kstest(deviations, stats.uniform(0, 0.1).cdf).pvalue > 0.001
    visible = added[deviations > 0.02]
    standard = visible / visible.std(1, keepdims=True)
    assert stats.kstest(standard.ravel(), stats.norm.cdf).pvalue > 0.001
    # Without any, it has a standard deviation of 1 / size ** 0.5; few windows are the same.
    correlations = np.asarray(np.corrcoef(standard))
    between = correlations[np.triu_indices(len(standard), 1)]
    assert (abs(between) > 6 / size**0.5).mean() < 1e-4
    strong = augmented(images, noise=0.9)
    assert strong.min() == 0
    assert strong.max() == 1


def test_noise_is_a_window_of_the_same_numbers() -> None:
    numbers = np.random.default_rng(0).standard_normal(NORMALS + 3 * SIDE**2, np.float32)
    starts = [0, 5, NORMALS - 1]
    windows = [numbers[start : start + 3 * SIDE**2] for start in starts]
    expected = np.reshape(windows, (3, SIDE, SIDE, 3))
    np.testing.assert_array_equal(noise(np.array(starts), SIDE), expected)


def test_noise_comes_after_contrast_and_cutout_is_black(images: np.ndarray) -> None:
    """It is drawn the same as without the others, and is not scaled with the contrast."""
    middle = 0.4 + 0.2 * images
    added = augmented(np.full_like(images, 0.5), noise=0.05) - 0.5
    expected = augmented(middle, contrast=0.5, brightness=0.1) + added
    expected[augmented(np.ones_like(images), cutout=3) == 0] = 0
    found = augmented(middle, contrast=0.5, brightness=0.1, noise=0.05, cutout=3)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_what_is_drawn_for_one_kind_says_nothing_of_another(images: np.ndarray) -> None:
    many = np.tile(INDEX, 10)
    grey = np.full_like(images, 0.5)
    shift = augmented(grey, index=many, brightness=0.4)[:, 0, 0, 0]
    spread = augmented(0.4 + 0.2 * images, index=many, contrast=0.8).std((1, 2, 3))
    factor = spread / (0.2 * images[many]).std((1, 2, 3))
    row, column = np.nonzero(augmented(grey, index=many, cutout=1)[..., 0] == 0)[1:]
    places = np.moveaxis(np.indices((SIDE, SIDE)), 0, -1).astype(np.float32)
    flat = np.repeat(np.pad(places, ((0, 0), (0, 0), (0, 1)))[None], COUNT, axis=0)
    moved = augmented(flat, index=many, translation=2)[:, SIDE // 2, SIDE // 2, :2]
    drawn = np.stack([shift, factor, row, column, *moved.T])
    assert all(len(set(values)) > 4 for values in drawn)
    for one in range(len(drawn)):
        for other in range(one):
            assert stats.spearmanr(drawn[one], drawn[other]).pvalue > 0.001
