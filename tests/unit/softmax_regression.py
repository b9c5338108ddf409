"""A network so small that NumPy trains it too: softmax regression on an image's mean colour."""

import numpy as np

from stages import device as device  # First, since TensorFlow reads what it sets.
from stages.train.augmentation import Augmentation
from stages.train.batches import Batches
from stages.train.history import Row
from stages.train.phases import Phase
from stages.train.recipes import Training
from tests.unit.picked import Batch, epoch_of

import keras  # isort: skip

RATE, EPOCHS = 2.0, 3
PLAIN = Augmentation()


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


def expected_rows(batches: Batches, validation: Batch) -> list[Row]:
    """Return the history of a training by `trained_alone`."""
    regression = Regression()
    images, count = batches.size, len(validation[1])
    steps = EPOCHS * len(batches)
    step, rows = 0, []
    for epoch in range(EPOCHS):
        first_rate = RATE * (1 - step / steps)
        sums = np.zeros(2)
        for batch in epoch_of(batches, epoch):
            sums += regression.step(*batch, RATE * (1 - step / steps))
            step += 1
        _, loss, correct = regression.measured(*validation)
        rows.append(
            {
                "epoch": epoch + 1,
                "loss": sums[0] / images,
                "accuracy": sums[1] / images,
                "val_loss": loss / count,
                "val_accuracy": correct / count,
                "learning_rate": first_rate,
            }
        )
    assert step == steps
    return rows
