"""The training loop of every recipe.

A loop of our own instead of `fit`, because `fit` of Keras 3 does not run on several machines
(keras issue 20585) while this one does in any `tf.distribute` strategy's scope.
"""

import time
from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from stages.cifar10 import CLASSES
from stages.train.recipes import Phase, Training

VALIDATION_BATCH_SIZE = 500
LABELS = tf.TensorSpec((None,), tf.uint8)

Row = dict[str, float]


def train(
    training: Training, validation_images: np.ndarray, validation_labels: np.ndarray
) -> Iterator[Row]:
    """Train, and give the history's row after each epoch.

    Args:
        training: what to train, and on which batches.
        validation_images: float32 (n, 32, 32, 3) in [0, 1]; n may be 0.
        validation_labels: uint8 (n,).

    Yields:
        epoch (from 1), loss and accuracy over the epoch's batches as they were trained on,
        val_loss and val_accuracy where there are validation images, and the learning rate of the
        epoch's first step.
    """
    optimizer, loss = training.optimizer, training.loss
    optimizer.build(training.model.trainable_variables)
    loss_mean = keras.metrics.Mean()
    accuracy = keras.metrics.SparseCategoricalAccuracy()

    def measure(labels: tf.Tensor, probabilities: tf.Tensor) -> tf.Tensor:
        value = loss(tf.one_hot(labels, len(CLASSES)), probabilities)
        loss_mean.update_state(value, sample_weight=tf.shape(labels)[0])
        accuracy.update_state(labels, probabilities)
        return value

    def training_step(phase: Phase) -> Callable[[tf.Tensor, tf.Tensor], None]:
        @tf.function(input_signature=[images_of(phase.model), LABELS])
        def step(images: tf.Tensor, labels: tf.Tensor) -> None:
            with tf.GradientTape() as tape:
                value = measure(labels, phase.model(images, training=True))
            optimizer.apply(tape.gradient(value, phase.variables), phase.variables)

        return step

    @tf.function(input_signature=[images_of(training.model), LABELS])
    def validation_step(images: tf.Tensor, labels: tf.Tensor) -> None:
        measure(labels, training.model(images, training=False))

    def results(prefix: str = "") -> Row:
        row = {f"{prefix}loss": loss_mean.result(), f"{prefix}accuracy": accuracy.result()}
        loss_mean.reset_state()
        accuracy.reset_state()
        return {name: float(value) for name, value in row.items()}

    last = training.phases[-1].epochs[-1] + 1
    for phase in training.phases:
        step = training_step(phase)
        for epoch in phase.epochs:
            start = time.monotonic()
            learning_rate = float(optimizer.learning_rate)
            title = f"epoch {epoch + 1}/{last}"
            # disable=None: no bar where standard error is not a terminal.
            steps = len(phase.batches)
            with tqdm(total=steps, desc=title, unit="step", leave=False, disable=None) as bar:
                for images, labels in prepared_ahead(phase, epoch):
                    step(images, labels)
                    bar.update()
            row = {"epoch": epoch + 1} | results()
            seconds = time.monotonic() - start
            for first in range(0, len(validation_labels), VALIDATION_BATCH_SIZE):
                part = slice(first, first + VALIDATION_BATCH_SIZE)
                validation_step(validation_images[part], validation_labels[part])
            if len(validation_labels):
                row |= results("val_")
            measured = "  ".join(
                f"{name} {value:.4f}" for name, value in row.items() if name != "epoch"
            )
            print(f"{title}  {measured}  {seconds:.1f} s", flush=True)
            yield row | {"learning_rate": learning_rate}


def images_of(model: keras.Model) -> tf.TensorSpec:
    """Give the type of the images that `model` takes."""
    return tf.TensorSpec(model.input_shape, tf.float32)


def prepared_ahead(phase: Phase, epoch: int) -> tf.data.Dataset:
    """Give an epoch's batches, the next one made while the last one trains."""
    batches = tf.data.Dataset.from_generator(
        lambda: phase.batches.epoch(epoch),
        output_signature=(images_of(phase.model), LABELS),
    )
    return batches.prefetch(1)
