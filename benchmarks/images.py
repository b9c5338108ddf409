"""The images that a comparison trains on, the same for each side."""

import numpy as np

from stages import arrays


def training_images(count: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Give the first so many training images, or all, and labels, however they are split."""
    splits = zip(arrays.load("train"), arrays.load("validation"), strict=True)
    images, labels = (np.concatenate([part[:count] for part in parts])[:count] for parts in splits)
    return images, labels
