"""Two devices compute what one does, by formulas in NumPy."""

from typing import Any

import numpy as np
import pytest

from stages import device as device  # First, since TensorFlow reads what it sets.
from stages.models.fused_batch_normalization import FusedBatchNormalization
from stages.train import replicas
from stages.train.batches import Batches
from stages.train.cluster import first_of_all, of_chief
from stages.train.history import Row
from stages.train.loop import VALIDATION_BATCH_SIZE, train
from stages.train.steps import compiled_steps
from tests.unit.softmax_regression import (
    PLAIN,
    examples,
    expected_rows,
    network,
    trained_alone,
)
from tests.unit.two_devices import mirrored as mirrored
from tests.unit.two_devices import two_devices as two_devices

import keras  # isort: skip
import tensorflow as tf  # isort: skip


def each(strategy: tf.distribute.Strategy, values: Any) -> list[Any]:
    """Return a value of both devices as arrays."""
    return [value.numpy() for value in strategy.experimental_local_results(values)]


@pytest.mark.parametrize(
    ("index", "parts", "copies"),
    [
        ([7, 3, 5, 4, 6], [[7, 5, 6], [3, 4]], 1),
        ([7, 3], [[7], [3]], 1),
        ([7], [[7], [7]], 2),
    ],
)
def test_each_has_its_rows(
    two_devices: tf.distribute.Strategy, index: list[int], parts: list[list[int]], copies: int
) -> None:
    @tf.function
    def rows_and_copies() -> tuple[tf.Tensor, int]:
        part, found = replicas.own_part({"index": tf.constant(index)})
        return part["index"], found

    rows, found = two_devices.run(rows_and_copies)
    assert [part.tolist() for part in each(two_devices, rows)] == parts
    assert set(each(two_devices, found)) == {copies}


def test_gradients_are_averaged(two_devices: tf.distribute.Strategy) -> None:
    @tf.function
    def averaged() -> list[tf.Tensor]:
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        own = tf.constant([[1.0, 5.0], [3.0, -1.0]])[replica]
        return replicas.averaged([own, 10 * own])

    one, other = two_devices.run(averaged)
    for found, expected in ((one, [2, 2]), (other, [20, 20])):
        np.testing.assert_allclose(each(two_devices, found), [expected] * 2)


@pytest.mark.usefixtures("two_devices")
def test_the_first_tells_all() -> None:
    array = np.array([[3, 1], [4, 1]])
    np.testing.assert_array_equal(first_of_all(array), array)


@pytest.mark.usefixtures("two_devices")
def test_rows_and_state_are_the_chiefs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The chief here is the first of two devices that have the same."""
    monkeypatch.setattr(
        tf.distribute, "MultiWorkerMirroredStrategy", tf.distribute.MirroredStrategy
    )
    rows: list[Row] = [{"epoch": 1, "loss": 0.1}, {"epoch": 2, "loss": 1 / 3}]
    state = [keras.Variable([1.5, -0.0, np.nan]), keras.Variable(3, dtype="int64")]
    before = [variable.numpy().tobytes() for variable in state]
    found = of_chief(rows, state)
    assert found == rows
    assert found is not rows
    assert of_chief([], state) == []
    assert [variable.numpy().tobytes() for variable in state] == before


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("scale", [True, False])
def test_batches_are_normalized_as_wholes(
    two_devices: tf.distribute.Strategy, scale: bool, dtype: str
) -> None:
    """Of 8 images, each device has those of another spread and mean."""
    generator = np.random.default_rng(0)
    x = np.concatenate(
        [generator.normal(3, 2, (4, 5, 7, 2)), generator.normal(-1, 4, (4, 5, 7, 2))]
    )
    layer = FusedBatchNormalization(momentum=0.75, epsilon=0.5, scale=scale, dtype=dtype)
    layer.build(x.shape)
    beta, gamma = np.array([1.0, 2.0]), np.array([0.5, -1.5]) if scale else np.ones(2)
    layer.beta.assign(beta)
    if scale:
        layer.gamma.assign(gamma)
    layer.synchronized = True
    inputs = tf.constant(x, layer.compute_dtype)

    @tf.function
    def normalized() -> tf.Tensor:
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        return layer(tf.reshape(inputs, (2, 4, 5, 7, 2))[replica], training=True)

    outputs = two_devices.run(normalized)
    tolerance = 1e-5 if dtype == "float32" else 1e-2
    given = inputs.numpy().astype(float)
    mean, variance = given.mean((0, 1, 2)), given.var((0, 1, 2))
    expected = (given - mean) / np.sqrt(variance + 0.5) * gamma + beta
    found = tf.concat(two_devices.experimental_local_results(outputs), 0)
    assert found.dtype == layer.compute_dtype
    np.testing.assert_allclose(found.numpy().astype(float), expected, tolerance, tolerance)
    np.testing.assert_allclose(layer.moving_mean.numpy(), mean / 4, 1e-5)
    unbiased = given.var((0, 1, 2), ddof=1)
    np.testing.assert_allclose(layer.moving_variance.numpy(), 0.75 + unbiased / 4, 1e-5)


def test_two_pixels_have_an_unbiased_variance(two_devices: tf.distribute.Strategy) -> None:
    """Each device has one, of two channels: 1 and 4, 3 and 4."""
    layer = FusedBatchNormalization(momentum=0.0)
    layer.build((1, 1, 1, 2))
    layer.synchronized = True

    @tf.function
    def normalized() -> tf.Tensor:
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        return layer(tf.constant([[[[[1.0, 4.0]]]], [[[[3.0, 4.0]]]]])[replica], training=True)

    two_devices.run(normalized)
    np.testing.assert_allclose(layer.moving_variance.numpy(), [2, 0])


def test_an_epoch_is_that_of_one_device(mirrored: tf.distribute.Strategy) -> None:
    """Batches of 3 are divided unequally; each device has the last one, of 1 image, whole."""
    images, labels = examples(10, 0)
    validation = examples(2 * VALIDATION_BATCH_SIZE + 1, 1)
    alone = expected_rows(Batches(images, labels, 3, PLAIN, seed=0), validation)
    with mirrored.scope():
        batches = Batches(images, labels, 3, PLAIN, seed=0)
        rows = list(train(trained_alone(network(2), batches), *validation))
    assert rows == [pytest.approx(row, 1e-4) for row in alone]


@pytest.mark.usefixtures("two_devices")
def test_what_devices_do_together_is_not_compiled_by_xla() -> None:
    """XLA would refuse a text."""
    batches = Batches(*examples(4, 0), 2, PLAIN, seed=0)

    def step(images: tf.Tensor, labels: tf.Tensor, size: int) -> tf.Tensor:
        return tf.cast(tf.strings.length(tf.strings.as_string(labels)), tf.float32)

    steps = compiled_steps(batches, step, on_gpu=True)
    (chunk,) = batches.chunks(batches.in_order(), 2)
    np.testing.assert_array_equal(steps(chunk, tf.zeros(1)), [4])
