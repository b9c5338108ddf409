"""The images that a comparison trains on, the same for each side."""

import numpy as np

from stages import arrays


def training_images(count: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the first so many training images, or all, and labels, however they are split."""
    images, labels = arrays.load("train")
    if count is not None and count <= len(labels):
        return images[:count], labels[:count]
    more_images, more_labels = arrays.load("validation")
    images, labels = (
        np.concatenate(parts)[:count] for parts in ((images, more_images), (labels, more_labels))
    )
    return images, labels
