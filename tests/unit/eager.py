"""A fixture for tests of functions that TensorFlow takes longer to compile than to run."""

from collections.abc import Iterator

import pytest

from stages import device as device  # First, since TensorFlow reads what it sets.

import tensorflow as tf  # isort: skip


@pytest.fixture
def without_graphs() -> Iterator[None]:
    """Run compiled functions line by line."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)
