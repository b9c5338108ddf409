"""Images as they come elsewhere: noisy, re-encoded, blurred, brighter, paler or enlarged.

After Hendrycks & Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations", arXiv 1903.12261. Its CIFAR-10-C has five severities of each kind; in its terms,
noise_8 is below the first, noise_20 the third; jpeg_90 below the first, jpeg_75 between the first
and the second, jpeg_50 the fourth; blur_0.6 the second, blur_1 the fifth; brightness_40 about the
third; contrast_50 the second; pixelation_16 above the fifth.
"""

import io
from collections.abc import Callable
from functools import partial
from typing import Literal

import numpy as np
from PIL import Image

Corruption = Literal[
    "noise_8",
    "noise_20",
    "jpeg_90",
    "jpeg_75",
    "jpeg_50",
    "blur_0.6",
    "blur_1",
    "brightness_40",
    "contrast_50",
    "pixelation_16",
]


def noise(images: np.ndarray, deviation: float) -> np.ndarray:
    """Add Gaussian noise of this standard deviation, in grey levels, the same in every run."""
    drawn = np.random.default_rng(0).standard_normal(images.shape, np.float32)
    return rounded(images + deviation * drawn)


def jpeg(images: np.ndarray, quality: int) -> np.ndarray:
    """Save as JPEG of this quality, half as many rows and columns of colours, and read again."""

    def encoded(image: np.ndarray) -> np.ndarray:
        content = io.BytesIO()
        Image.fromarray(image).save(content, "JPEG", quality=quality, subsampling="4:2:0")
        return np.asarray(Image.open(content))

    return np.stack([*map(encoded, images)])


def blur(images: np.ndarray, deviation: float) -> np.ndarray:
    """Blur by a Gaussian of this standard deviation, in pixels; the border goes on as it is."""
    # Half of the import time of this file, of which most stages need the names alone.
    from scipy.ndimage import gaussian_filter

    return rounded(
        gaussian_filter(images.astype(np.float32), deviation, mode="nearest", axes=(1, 2))
    )


def brightness(images: np.ndarray, levels: int) -> np.ndarray:
    """Add so many grey levels to every pixel."""
    return rounded(images.astype(np.float32) + levels)


def contrast(images: np.ndarray, share: float) -> np.ndarray:
    """Keep this share of each pixel's distance from the mean colour of its image."""
    mean = images.mean((1, 2), dtype=np.float32, keepdims=True)
    return rounded(mean + share * (images - mean))


def pixelation(images: np.ndarray, side: int) -> np.ndarray:
    """Shrink to this side, which divides the images' own, and enlarge again."""
    factor = images.shape[1] // side
    blocks = images.reshape(-1, side, factor, side, factor, 3)
    means = rounded(blocks.mean((2, 4), dtype=np.float32))
    return means.repeat(factor, 1).repeat(factor, 2)


def rounded(images: np.ndarray) -> np.ndarray:
    """Return the nearest uint8."""
    return np.rint(images).clip(0, 255).astype(np.uint8)


FUNCTIONS: dict[Corruption, Callable[[np.ndarray], np.ndarray]] = {
    "noise_8": partial(noise, deviation=8),
    "noise_20": partial(noise, deviation=20),
    "jpeg_90": partial(jpeg, quality=90),
    "jpeg_75": partial(jpeg, quality=75),
    "jpeg_50": partial(jpeg, quality=50),
    "blur_0.6": partial(blur, deviation=0.6),
    "blur_1": partial(blur, deviation=1),
    "brightness_40": partial(brightness, levels=40),
    "contrast_50": partial(contrast, share=0.5),
    "pixelation_16": partial(pixelation, side=16),
}


def corrupted(images: np.ndarray, corruption: Corruption) -> np.ndarray:
    """Return images changed by a corruption, as a picture in 8 bits holds them.

    Args:
        images: float32 (n, 32, 32, 3) in [0, 1].
        corruption: which.

    Returns:
        images of the same shape, type and range.
    """
    return FUNCTIONS[corruption](rounded(255 * images)) / np.float32(255)
