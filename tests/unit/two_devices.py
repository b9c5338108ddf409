"""A fixture for tests of what devices that train together share out and bring together."""

from collections.abc import Iterator
from functools import cache

import pytest

from stages import device as device  # First, since TensorFlow reads what it sets.

import tensorflow as tf  # isort: skip


@cache
def strategy() -> tf.distribute.Strategy:
    """Return the only one of its kind: a second one would number its exchanges like the first.

    A fixture would be made anew for each file of tests that imports it.
    """
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


@pytest.fixture
def mirrored() -> tf.distribute.Strategy:
    """Return a strategy that trains on two halves of the CPU."""
    return strategy()


@pytest.fixture
def two_devices(mirrored: tf.distribute.Strategy) -> Iterator[tf.distribute.Strategy]:
    """Return the strategy in whose scope the test runs."""
    with mirrored.scope():
        yield mirrored
