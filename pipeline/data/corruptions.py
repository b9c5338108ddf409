"""Images as they come elsewhere: noisy, re-encoded, blurred, brighter, paler or enlarged.

After Hendrycks & Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations", arXiv 1903.12261. Its CIFAR-10-C has five severities of each kind; in its terms,
noise_8 is below the first, noise_20 the third; jpeg_90 below the first, jpeg_75 between the first
and the second, jpeg_50 the fourth; blur_0.6 about the third, blur_1 the fifth; brightness_40 about
the third; contrast_50 the second; pixelation_16 above the fifth.
"""

import io

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from pipeline.common.config import Corruption
from pipeline.common.shell import UserError


def corrupted(images: np.ndarray, corruption: Corruption) -> np.ndarray:
    """Return images changed by a corruption, as a picture in 8 bits holds them.

    Args:
        images: float32 (n, side, side, 3) in [0, 1].
        corruption: its kind and its strength, as in the name of a function here and its argument.

    Returns:
        images of the same shape, type and range.

    Raises:
        UserError: images of this side cannot be made of such large pixels.
    """
    kind, strength = corruption.split("_")
    return KINDS[kind](nearest_uint8(255 * images), float(strength)) / np.float32(255)


def nearest_uint8(images: np.ndarray) -> np.ndarray:
    """Return images of grey levels, rounded to whole ones and limited to 0 to 255."""
    return np.rint(images).clip(0, 255).astype(np.uint8)


def noise(images: np.ndarray, deviation: float) -> np.ndarray:
    """Add Gaussian noise of this standard deviation, in grey levels, the same in every run."""
    drawn = np.random.default_rng(0).standard_normal(images.shape, np.float32)
    return nearest_uint8(images + deviation * drawn)


def jpeg(images: np.ndarray, quality: float) -> np.ndarray:
    """Save as JPEG of this quality, half as many rows and columns of colours, and read again."""

    def encoded(image: np.ndarray) -> np.ndarray:
        content = io.BytesIO()
        Image.fromarray(image).save(content, "JPEG", quality=int(quality), subsampling="4:2:0")
        return np.asarray(Image.open(content))

    return np.stack([*map(encoded, images)])


def blur(images: np.ndarray, deviation: float) -> np.ndarray:
    """Blur by a Gaussian of this standard deviation, in pixels; the border goes on as it is."""
    floats = images.astype(np.float32)
    return nearest_uint8(gaussian_filter(floats, deviation, mode="nearest", axes=(1, 2)))


def brightness(images: np.ndarray, levels: float) -> np.ndarray:
    """Add so many grey levels to every pixel."""
    return nearest_uint8(images.astype(np.float32) + levels)


def contrast(images: np.ndarray, percent: float) -> np.ndarray:
    """Keep so much of each pixel's distance from the mean colour of its image."""
    mean = images.mean((1, 2), dtype=np.float32, keepdims=True)
    return nearest_uint8(mean + percent / 100 * (images - mean))


def pixelation(images: np.ndarray, side: float) -> np.ndarray:
    """Shrink to this side, which divides the images' own, and enlarge again."""
    coarse, fine = int(side), images.shape[1]
    if fine % coarse:
        raise UserError(
            f"params.yaml: evaluate.corruptions: pixelation_{coarse}: images of {fine} x {fine} "
            f"pixels; allowed are multiples of {coarse}"
        )
    factor = fine // coarse
    blocks = images.reshape(-1, coarse, factor, coarse, factor, 3)
    means = nearest_uint8(blocks.mean((2, 4), dtype=np.float32))
    return means.repeat(factor, 1).repeat(factor, 2)


KINDS = {
    "noise": noise,
    "jpeg": jpeg,
    "blur": blur,
    "brightness": brightness,
    "contrast": contrast,
    "pixelation": pixelation,
}
