"""Independent random streams, each named, all of one seed."""

import zlib

import numpy as np


def stream(seed: int, name: str, epoch: int = 0) -> np.random.Generator:
    """Return the generator of one purpose in one epoch.

    What other streams have drawn does not change it, so any epoch can be repeated by itself.
    """
    return np.random.default_rng([seed, zlib.crc32(name.encode()), epoch])
