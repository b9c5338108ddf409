"""What an epoch of the training loop does and returns: its row, by formulas in NumPy."""

import numpy as np
import pytest

from stages import device as device  # First, since TensorFlow reads what it sets.
from stages.train.augmentation import Augmentation, Plan
from stages.train.batches import Batches
from stages.train.history import Row
from stages.train.loop import VALIDATION_BATCH_SIZE, train
from stages.train.recipes import Phase, Training
from tests.unit.eager import without_graphs as without_graphs
from tests.unit.picked import Batch, epoch_of

import keras  # isort: skip
import tensorflow as tf  # isort: skip

RATE, EPOCHS = 2.0, 3
PLAIN = Augmentation()
NONE = np.empty((0, 2, 2, 3), np.float32), np.empty(0, np.uint8)


def network(side: int, *layers: keras.layers.Layer) -> keras.Model:
    """Return softmax regression on the mean colour of an image, starting from zero."""
    return keras.Sequential(
        [
            keras.Input((side, side, 3)),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(10, kernel_initializer="zeros", name="logits"),
            *layers,
            keras.layers.Softmax(),
        ]
    )


def optimizer(steps: int) -> keras.optimizers.Optimizer:
    """Return plain gradient descent at a rate that falls to zero."""
    return keras.optimizers.SGD(keras.optimizers.schedules.PolynomialDecay(RATE, steps, 0.0))


def trained_alone(model: keras.Model, batches: Batches, epochs: int = EPOCHS) -> Training:
    phases = [Phase(range(epochs), model, model.trainable_variables, batches)]
    loss = keras.losses.CategoricalCrossentropy()
    return Training(model, optimizer(epochs * len(batches)), loss, phases)


def examples(count: int, seed: int) -> Batch:
    """Return random images whose classes can be learned from their colour, but not all."""
    generator = np.random.default_rng(seed)
    images = generator.random((count, 2, 2, 3), np.float32)
    labels = (images.mean((1, 2)) @ np.array([3, 5, 7]) + generator.integers(0, 2, count)) % 10
    return images, labels.astype(np.uint8)


class Regression:
    """Softmax regression and its gradient descent, written down in NumPy."""

    def __init__(self) -> None:
        """Start from zero."""
        self.kernel, self.bias = np.zeros((3, 10)), np.zeros(10)

    def measured(self, images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, float, float]:
        """Return probabilities less labels, summed losses, and the number of correct answers."""
        logits = images.mean((1, 2)) @ self.kernel + self.bias
        probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        losses = -np.log(probabilities[range(len(labels)), labels])
        correct = float((probabilities.argmax(1) == labels).sum())
        return probabilities - np.eye(10)[labels], float(losses.sum()), correct

    def step(self, images: np.ndarray, labels: np.ndarray, rate: float) -> tuple[float, float]:
        """Take a step, and return the summed losses and correct answers before it."""
        error, loss, correct = self.measured(images, labels)
        self.kernel -= rate * images.mean((1, 2)).T @ error / len(labels)
        self.bias -= rate * error.mean(0)
        return loss, correct


def test_rows_are_those_of_softmax_regression() -> None:
    """The last batch of 1 image counts a third of one of 3; validation takes three batches."""
    images, labels = examples(10, 0)
    validation = examples(2 * VALIDATION_BATCH_SIZE + 1, 1)
    batches = Batches(images, labels, 3, PLAIN, seed=0)
    rows = list(train(trained_alone(network(2), batches), *validation))

    regression = Regression()
    steps = EPOCHS * 4
    step = 0
    for epoch, row in enumerate(rows):
        first_rate = RATE * (1 - step / steps)
        sums = np.zeros(2)
        for batch in epoch_of(batches, epoch):
            sums += regression.step(*batch, RATE * (1 - step / steps))
            step += 1
        _, loss, correct = regression.measured(*validation)
        expected = {
            "epoch": epoch + 1,
            "loss": sums[0] / 10,
            "accuracy": sums[1] / 10,
            "val_loss": loss / 1001,
            "val_accuracy": correct / 1001,
            "learning_rate": first_rate,
        }
        assert list(row) == list(expected)
        assert row == pytest.approx(expected, 1e-4)
        assert {type(value) for value in row.values()} == {int, float}
    assert len(rows) == EPOCHS
    assert step == steps
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
