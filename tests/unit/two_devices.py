"""A fixture for tests of what devices that train together share out and bring together."""

from collections.abc import Iterator

import pytest

from stages import device as device  # First, since TensorFlow reads what it sets.

import tensorflow as tf  # isort: skip


@pytest.fixture(scope="session")
def mirrored() -> tf.distribute.Strategy:
    """Return the only one of its kind: a second one would number its exchanges like the first."""
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


@pytest.fixture
def two_devices(mirrored: tf.distribute.Strategy) -> Iterator[tf.distribute.Strategy]:
    """Return the strategy in whose scope the test runs: it trains on two halves of the CPU."""
    with mirrored.scope():
        yield mirrored
