"""The training loop of every recipe.

A loop of our own instead of `fit`, because `fit` of Keras 3 does not run on several machines
(keras issue 20585) while this one does in any `tf.distribute` strategy's scope.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from stages.cifar10 import CLASSES
from stages.errors import TrainingError
from stages.train.averages import average
from stages.train.history import Row, best, has_stalled
from stages.train.recipes import Phase, Training

VALIDATION_BATCH_SIZE = 500
LABELS = tf.TensorSpec((None,), tf.uint8)

Step = Callable[[tf.Tensor, tf.Tensor], None]


class Meter:
    """Mean loss and accuracy over the batches since the last results."""

    def __init__(self, loss: keras.losses.CategoricalCrossentropy):
        """Take the loss, of one-hot labels and probabilities."""
        self.loss = loss
        self.loss_mean = keras.metrics.Mean()
        self.accuracy = keras.metrics.SparseCategoricalAccuracy()

    def measure(self, labels: tf.Tensor, probabilities: tf.Tensor) -> tf.Tensor:
        """Return the mean loss of a batch, and count it."""
        value = self.loss(tf.one_hot(labels, len(CLASSES)), probabilities)
        self.loss_mean.update_state(value, sample_weight=tf.shape(labels)[0])
        self.accuracy.update_state(labels, probabilities)
        return value

    def results(self, prefix: str = "") -> Row:
        """Return loss and accuracy, their names after `prefix`, and start anew."""
        row = {
            f"{prefix}loss": self.loss_mean.result(),
            f"{prefix}accuracy": self.accuracy.result(),
        }
        self.loss_mean.reset_state()
        self.accuracy.reset_state()
        return {name: float(value) for name, value in row.items()}


def train(
    training: Training,
    validation_images: np.ndarray,
    validation_labels: np.ndarray,
    finished: Sequence[Row] = (),
) -> Iterator[Row]:
    """Train, and yield the history's row after each epoch.

    Args:
        training: what to train, and on which batches.
        validation_images: float32 (n, 32, 32, 3) in [0, 1]; n may be 0.
        validation_labels: uint8 (n,).
        finished: the rows of the epochs that the state of `training` has behind it.

    Yields:
        epoch (from 1), loss and accuracy over the epoch's batches as they were trained on,
        val_loss and val_accuracy where there are validation images, and the learning rate of the
        epoch's first step.

    Raises:
        TrainingError: the loss of the epoch is not finite.
    """
    optimizer, meter = training.optimizer, Meter(training.loss)
    validation_step = compiled_validation_step(training.measured, meter)
    rows = [*finished]
    last = training.phases[-1].epochs[-1] + 1
    for phase in training.phases:
        training_step = compiled_training_step(training, phase, meter)
        for epoch in phase.epochs:
            if epoch < len(rows):
                continue
            if has_stalled(rows, training.patience):
                print(f"stopped: no better val_accuracy in {training.patience} epochs", flush=True)
                return
            start = time.monotonic()
            learning_rate = float(optimizer.learning_rate)
            title = f"epoch {epoch + 1}/{last}"
            batches, steps = phase.batches.epoch(epoch), len(phase.batches)
            # disable=None: no bar where standard error is not a terminal.
            for batch in tqdm(batches, title, steps, leave=False, unit="step", disable=None):
                training_step(*batch)
            row = {"epoch": epoch + 1} | meter.results()
            seconds = time.monotonic() - start
            for first in range(0, len(validation_labels), VALIDATION_BATCH_SIZE):
                part = slice(first, first + VALIDATION_BATCH_SIZE)
                validation_step(validation_images[part], validation_labels[part])
            if len(validation_labels):
                row |= meter.results("val_")
            measured = "  ".join(
                f"{name} {value:.4f}" for name, value in row.items() if name != "epoch"
            )
            print(f"{title}  {measured}  {seconds:.1f} s", flush=True)
            if not all(map(math.isfinite, row.values())):
                raise TrainingError(f"{title}: the loss is not finite; try a lower learning_rate")
            rows.append(row | {"learning_rate": learning_rate})
            if training.best and best(rows) is rows[-1]:
                training.best.set_weights(training.measured.get_weights())
            yield rows[-1]


def compiled_training_step(training: Training, phase: Phase, meter: Meter) -> Step:
    """Return the function that takes one step on a batch of images and labels."""
    optimizer = training.optimizer

    @tf.function(input_signature=[images_of(phase.model), LABELS])
    def step(images: tf.Tensor, labels: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            value = meter.measure(labels, phase.model(images, training=True))
        optimizer.apply(tape.gradient(value, phase.variables), phase.variables)
        if training.averaged:
            average(training.averaged, training.model, training.ema_momentum, optimizer.iterations)

    return step


def compiled_validation_step(model: keras.Model, meter: Meter) -> Step:
    """Return the function that measures a batch of images and labels."""

    @tf.function(input_signature=[images_of(model), LABELS])
    def step(images: tf.Tensor, labels: tf.Tensor) -> None:
        meter.measure(labels, model(images, training=False))

    return step


def images_of(model: keras.Model) -> tf.TensorSpec:
    """Return the type of the images that `model` takes."""
    return tf.TensorSpec(model.input_shape, tf.float32)
