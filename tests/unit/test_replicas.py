"""What devices that train together share out and bring together, where there is but one."""

import numpy as np

from stages import start as start  # First, since TensorFlow reads what it sets.
from stages.train import replicas

import tensorflow as tf  # isort: skip


def test_alone_nothing_is_shared_out() -> None:
    assert replicas.count() == 1
    part = {"index": tf.constant([3, 1, 2])}
    found, copies = replicas.own_part(part)
    assert found["index"].numpy().tolist() == [3, 1, 2]
    assert copies == 1
    gradients = [tf.constant([4.0])]
    assert replicas.averaged(gradients) is gradients
    np.testing.assert_array_equal(replicas.on_each(np.array([5, 6])), [5, 6])
    assert float(replicas.summed(lambda x: 2 * x, tf.constant(3.0))) == 6
