"""Pictures that tests make."""

import numpy as np


def gradient() -> np.ndarray:
    """Return a picture that has no symmetry: red grows to the right, green downwards."""
    row, column = np.mgrid[:64, :64].astype(np.uint8) * 4
    return np.stack([column, row, np.full_like(row, 100)], axis=-1)
