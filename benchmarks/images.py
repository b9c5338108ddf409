"""The images that a comparison trains on, the same for each side."""

import numpy as np

from stages import arrays


def all_training_images() -> tuple[np.ndarray, np.ndarray]:
    """Give all training images and labels, however they are split for validation."""
    images, labels = zip(arrays.load("train"), arrays.load("validation"), strict=True)
    return np.concatenate(images), np.concatenate(labels)
