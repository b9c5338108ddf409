"""Which images of a batch are trained, by formulas in NumPy: those that a small network picks."""

import numpy as np
import pytest

from stages import device as device  # First, since TensorFlow reads what it sets.
from stages.models.airbench import Airbench
from stages.models.network import Network
from stages.models.resnet import ResNet
from stages.models.tutorial import Tutorial
from stages.train.batches import Batches
from stages.train.history import Row
from stages.train.loop import train
from stages.train.phases import Phase
from stages.train.recipes import Training
from stages.train.selection import Proxy, picked_images
from tests.unit.picked import epoch_of
from tests.unit.softmax_regression import PLAIN, RATE, Regression, examples, network, optimizer
from tests.unit.tiny_recipes import assembled, gradients, stepped, tiny
from tests.unit.two_devices import mirrored as mirrored

import keras  # isort: skip
import tensorflow as tf  # isort: skip

PROXY_RATE, EPOCHS, BATCH_SIZE = 0.5, 3, 6
IMAGES, LABELS = examples(16, 0)
KERNEL = np.random.default_rng(0).normal(0, 2, (3, 10))


@pytest.mark.parametrize(
    ("images", "share", "expected"), [(1000, 0.5, 500), (3, 0.5, 2), (3, 0.1, 1), (7, 1.0, 7)]
)
def test_so_many_are_picked(images: int, share: float, expected: int) -> None:
    assert picked_images(images, share) == expected


def trained() -> list[Row]:
    """Train softmax regression on the halves of batches of 6, 6 and 4 that another one picks."""
    small, model = network(2), network(2)
    small.get_layer("logits").kernel.assign(KERNEL)
    proxy = Proxy(small, small.trainable_variables, keras.optimizers.SGD(PROXY_RATE), 0.5)
    batches = Batches(IMAGES, LABELS, BATCH_SIZE, PLAIN, seed=0)
    training = Training(
        model,
        optimizer(EPOCHS * len(batches)),
        keras.losses.CategoricalCrossentropy(),
        [Phase(range(EPOCHS), model, model.trainable_variables, batches, proxy)],
        proxy=proxy,
    )
    return [*train(training, IMAGES[:0], LABELS[:0])]


def hardest(regression: Regression, images: np.ndarray, labels: np.ndarray, of: int) -> list[int]:
    """Return the rows of the images with the highest losses: half of each of `of` parts."""
    losses = np.array(
        [regression.measured(images[[row]], labels[[row]])[1] for row in range(len(labels))]
    )
    rows = []
    for first in range(of):
        part = np.arange(len(labels))[first::of]
        rows += part[np.argsort(-losses[part])][: round(len(part) / 2)].tolist()
    return rows


def expected(devices: int = 1) -> list[Row]:
    """Return the history that `trained` should have."""
    batches = Batches(IMAGES, LABELS, BATCH_SIZE, PLAIN, seed=0)
    small, large = Regression(), Regression()
    small.kernel = KERNEL.copy()
    steps, step, history = EPOCHS * len(batches), 0, []
    for epoch in range(EPOCHS):
        first_rate, sums = RATE * (1 - step / steps), np.zeros(2)
        for images, labels in epoch_of(batches, epoch):
            rows = hardest(small, images, labels, devices)
            small.step(images[rows], labels[rows], PROXY_RATE)
            found = large.step(images[rows], labels[rows], RATE * (1 - step / steps))
            sums += np.array(found) * len(labels) / len(rows)
            step += 1
        loss, accuracy = sums / len(LABELS)
        history.append(
            {
                "epoch": epoch + 1,
                "loss": loss,
                "accuracy": accuracy,
                "learning_rate": first_rate,
            }
        )
    return history


def test_the_hardest_are_trained() -> None:
    assert trained() == [pytest.approx(row, 1e-4) for row in expected()]


def test_each_device_trains_the_hardest_of_its_part(mirrored: tf.distribute.Strategy) -> None:
    with mirrored.scope():
        rows = trained()
    assert rows == [pytest.approx(row, 1e-4) for row in expected(devices=2)]
    assert rows != [pytest.approx(row, 1e-4) for row in expected()]


@pytest.mark.parametrize(
    ("given", "width", "narrowed"),
    [
        (
            Airbench(name="airbench", widths=[128, 384, 3], block_depth=3),
            0.25,
            {"widths": [32, 96, 1], "block_depth": 2},
        ),
        (
            Tutorial(name="tutorial", filters=[64, 1], dense_units=512),
            0.5,
            {"filters": [32, 1], "dense_units": 256},
        ),
        (ResNet(name="resnet", depth=20, width=16), 0.75, {"width": 12}),
    ],
)
def test_the_small_network(given: Network, width: float, narrowed: dict[str, object]) -> None:
    assert given.narrowed(width) == given.model_copy(update=narrowed)


def test_the_small_network_learns_with_the_large_one() -> None:
    """On images of the same size, its first layer's bias for as long; its state is kept."""
    recipe = tiny("airbench_small", hardest_share=0.5, proxy_width=0.5)
    plain, training = assembled(tiny("airbench_small")), assembled(recipe)
    proxy = training.proxy
    assert proxy
    for phase in training.phases:
        assert phase.proxy
        assert phase.proxy.model.input_shape == phase.model.input_shape
        names = [[v.path for v in part.variables] for part in (phase, phase.proxy)]
        assert names[0] == names[1]
        assert {id(v) for v in phase.proxy.model.variables} == {
            id(v) for v in proxy.model.variables
        }
    assert len(training.state) == len({id(variable) for variable in training.state})
    own = {id(v) for v in (*proxy.model.variables, *proxy.optimizer.variables)}
    assert own <= {id(variable) for variable in training.state}
    assert len(training.state) == len(plain.state) + len(own)
    # That it is there changes nothing of how the large one starts.
    for one, other in zip(plain.state, training.state, strict=False):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_rates_are_for_the_images_that_are_picked() -> None:
    """Those of Muon for biases and the head are for the sum of a batch's losses."""
    half, whole = (
        assembled(tiny("airbench_small", batch_size=size, hardest_share=share))
        for size, share in ((4, 0.5), (2, 1.0))
    )
    for training in (half, whole):
        stepped(training, gradients(training, 0))
    for one, other in zip(half.model.weights, whole.model.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
