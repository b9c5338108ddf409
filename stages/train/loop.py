"""The training loop of every recipe.

A loop of our own instead of `fit`, because `fit` of Keras 3 does not run on several machines
(keras issue 20585) while this one does in any `tf.distribute` strategy's scope.
"""

import time
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from stages.cifar10 import CLASSES
from stages.train.recipes import Training

VALIDATION_BATCH_SIZE = 500
IMAGES = tf.TensorSpec((None, 32, 32, 3), tf.float32)
LABELS = tf.TensorSpec((None,), tf.uint8)

Row = dict[str, float]


def train(
    training: Training, epochs: int, validation_images: np.ndarray, validation_labels: np.ndarray
) -> Iterator[Row]:
    """Train, and give the history's row after each epoch.

    Args:
        training: what to train, and on which batches.
        epochs: passes over the training images.
        validation_images: float32 (n, 32, 32, 3) in [0, 1]; n may be 0.
        validation_labels: uint8 (n,).

    Yields:
        epoch (from 1), loss and accuracy over the epoch's batches as they were trained on,
        val_loss and val_accuracy where there are validation images, and the learning rate of the
        epoch's first step.
    """
    model, optimizer, loss = training.model, training.optimizer, training.loss
    optimizer.build(model.trainable_variables)
    loss_mean = keras.metrics.Mean()
    accuracy = keras.metrics.SparseCategoricalAccuracy()

    def measure(labels: tf.Tensor, probabilities: tf.Tensor) -> tf.Tensor:
        value = loss(tf.one_hot(labels, len(CLASSES)), probabilities)
        loss_mean.update_state(value, sample_weight=tf.shape(labels)[0])
        accuracy.update_state(labels, probabilities)
        return value

    @tf.function(input_signature=[IMAGES, LABELS])
    def training_step(images: tf.Tensor, labels: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            value = measure(labels, model(images, training=True))
        gradients = tape.gradient(value, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)

    @tf.function(input_signature=[IMAGES, LABELS])
    def validation_step(images: tf.Tensor, labels: tf.Tensor) -> None:
        measure(labels, model(images, training=False))

    def results(prefix: str = "") -> Row:
        row = {f"{prefix}loss": loss_mean.result(), f"{prefix}accuracy": accuracy.result()}
        loss_mean.reset_state()
        accuracy.reset_state()
        return {name: float(value) for name, value in row.items()}

    for epoch in range(epochs):
        start = time.monotonic()
        learning_rate = float(optimizer.learning_rate)
        title = f"epoch {epoch + 1}/{epochs}"
        # disable=None: no bar where standard error is not a terminal.
        bar = tqdm(total=len(training.batches), desc=title, unit="step", leave=False, disable=None)
        with bar:
            for images, labels in training.batches.epoch(epoch):
                training_step(images, labels)
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
