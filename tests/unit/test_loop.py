"""What an epoch of the training loop does and returns: its row, by formulas in NumPy."""

from collections.abc import Iterator

import numpy as np
import pytest

from stages import device as device  # First, since TensorFlow reads what it sets.
from stages.train.augmentation import Plan
from stages.train.batches import Batches
from stages.train.history import Row
from stages.train.loop import VALIDATION_BATCH_SIZE, train
from stages.train.phases import Phase
from stages.train.recipes import Training
from tests.unit.eager import without_graphs as without_graphs
from tests.unit.softmax_regression import (
    EPOCHS,
    PLAIN,
    RATE,
    examples,
    expected_rows,
    network,
    optimizer,
    trained_alone,
)

import keras  # isort: skip
import tensorflow as tf  # isort: skip

NONE = np.empty((0, 2, 2, 3), np.float32), np.empty(0, np.uint8)


def test_rows_are_those_of_softmax_regression() -> None:
    """The last batch of 1 image counts a third of one of 3; validation takes three batches."""
    images, labels = examples(10, 0)
    validation = examples(2 * VALIDATION_BATCH_SIZE + 1, 1)
    batches = Batches(images, labels, 3, PLAIN, seed=0)
    rows = list(train(trained_alone(network(2), batches), *validation))

    assert len(rows) == EPOCHS
    for row, expected in zip(rows, expected_rows(batches, validation), strict=True):
        assert list(row) == list(expected)
        assert row == pytest.approx(expected, 1e-4)
        assert {type(value) for value in row.values()} == {int, float}
    assert len({row["accuracy"] for row in rows}) > 1


@pytest.mark.usefixtures("without_graphs")
def test_without_validation_images_a_row_says_nothing_of_them() -> None:
    rows = train(trained_alone(network(2), Batches(*examples(4, 0), 4, PLAIN, seed=0), 1), *NONE)
    for row in rows:
        assert list(row) == ["epoch", "loss", "accuracy", "learning_rate"]


class Mode(keras.layers.Layer):
    """Says 3 while training and 5 otherwise, whatever it reads; counts how often it is compiled."""

    compiled = 0

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Return logits."""
        self.compiled += 1
        return inputs + 50.0 * tf.one_hot(3 if training else 5, 10)


def test_layers_know_whether_they_train() -> None:
    """Each graph is made once for a size of batches; the last one of an epoch is smaller."""
    mode = Mode()
    model = network(2, mode)
    before = mode.compiled
    images, _ = examples(4, 0)
    labels = np.array([3, 3, 3, 5], np.uint8)
    training = trained_alone(model, Batches(images, labels, 3, PLAIN, seed=0), epochs=2)
    row, _ = train(training, images, labels)
    assert (row["accuracy"], row["val_accuracy"]) == (0.75, 0.25)
    assert mode.compiled == before + 3


class Fixed(Batches):
    """One batch, its labels those of the epoch."""

    def __init__(self, side: int, labels: list[int]) -> None:
        """Take a label for each epoch."""
        images = np.ones((len(labels), side, side, 3), np.float32)
        super().__init__(images, np.array(labels, np.uint8), 1, PLAIN, 0)

    def __len__(self) -> int:
        """Return the number of steps in an epoch."""
        return 1

    def plan(self, epoch: int) -> Plan:
        """Return the plan of the epoch's batch."""
        return {"index": np.array([epoch])}


def phased() -> Training:
    """Return a training of three epochs, the first two on small images and with no bias.

    Each has another label, so that its gradient tells which epoch it was.
    """
    model = network(4)
    x = small = keras.Input((2, 2, 3))
    for layer in model.layers:
        x = layer(x)
    labels = [7, 8, 9]
    kernel, _ = model.trainable_variables
    phases = [
        Phase(range(2), keras.Model(small, x), [kernel], Fixed(2, labels)),
        Phase(range(2, 3), model, model.trainable_variables, Fixed(4, labels)),
    ]
    return Training(model, optimizer(3), keras.losses.CategoricalCrossentropy(), phases)


@pytest.mark.usefixtures("without_graphs")
def test_each_phase_trains_its_variables_on_its_batches() -> None:
    training = phased()
    kernel, bias = training.model.trainable_variables
    validation = np.ones((2, 4, 4, 3), np.float32), np.array([7, 9], np.uint8)
    learned = [
        (row["epoch"], int(kernel.numpy()[0].argmax()), int(bias.numpy().argmax()))
        for row in train(training, *validation)
    ]
    # No class leads a bias that has not changed, so the first does.
    assert [(epoch, of_bias) for epoch, _, of_bias in learned] == [(1, 0), (2, 0), (3, 9)]
    assert learned[0][1] == 7
    rises = kernel.numpy()[0]
    assert (rises[[7, 8, 9]] > 0).all()
    assert (rises[:7] < 0).all()


@pytest.mark.usefixtures("without_graphs")
@pytest.mark.parametrize("finished", [1, 2, 3])
def test_finished_epochs_are_not_trained_again(
    finished: int, capsys: pytest.CaptureFixture[str]
) -> None:
    training = phased()
    kernel, bias = training.model.trainable_variables
    images = np.empty((0, 4, 4, 3), np.float32)
    before: list[Row] = [{"epoch": epoch + 1} for epoch in range(finished)]
    rows = list(train(training, images, np.empty(0, np.uint8), before))
    assert [row["epoch"] for row in rows] == [1, 2, 3][finished:]
    # The optimizer is as new, so its rate begins at the start.
    rates = [RATE, RATE * 2 / 3, RATE / 3][: 3 - finished]
    assert [row["learning_rate"] for row in rows] == pytest.approx(rates)
    assert (kernel.numpy()[0][[7, 8, 9]] > 0).tolist() == [
        label >= 7 + finished for label in (7, 8, 9)
    ]
    assert bool(bias.numpy().any()) == (finished < 3)
    titles = [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()]
    assert titles == ["epoch 1/3", "epoch 2/3", "epoch 3/3"][finished:]


class Unknown(keras.layers.Layer):
    """Does in one mode, or in both, what XLA cannot: it writes a text."""

    def __init__(self, *modes: bool) -> None:
        """Take the modes: True is training."""
        super().__init__()
        self.modes = modes

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Return the inputs, plus nothing."""
        if training in self.modes:
            return inputs + 0.0 * tf.cast(
                tf.strings.length(tf.strings.as_string(inputs)), tf.float32
            )
        return inputs


@pytest.mark.parametrize("mode", [True, False])
def test_xla_compiles_both_steps_for_a_gpu(mode: bool) -> None:
    def rows(*modes: bool, on_gpu: bool = True) -> list[Row]:
        batches = Batches(*examples(10, 0), 3, PLAIN, seed=0)
        training = trained_alone(network(2, Unknown(*modes)), batches, epochs=1)
        return list(train(training, *examples(4, 1), on_gpu=on_gpu))

    assert rows() == [pytest.approx(row, 1e-5) for row in rows(on_gpu=False)]
    assert rows(mode, on_gpu=False)
    with pytest.raises(tf.errors.InvalidArgumentError, match="unsupported operations"):
        rows(mode)


class Counted(Batches):
    """Batches that note how many the loop asks for at once."""

    asked: list[int]

    def chunks(self, plan: Plan, steps: int) -> Iterator[Plan]:
        """Yield the chunks."""
        self.asked = [*getattr(self, "asked", []), steps]
        return super().chunks(plan, steps)


@pytest.mark.parametrize(("on_gpu", "expected"), [(True, 10), (False, 1)])
@pytest.mark.usefixtures("without_graphs")
def test_a_gpu_takes_several_steps_at_once(on_gpu: bool, expected: int) -> None:
    batches = Counted(*examples(4, 0), 2, PLAIN, seed=0)
    list(train(trained_alone(network(2), batches, epochs=2), *NONE, on_gpu=on_gpu))
    assert batches.asked == [expected] * 2
