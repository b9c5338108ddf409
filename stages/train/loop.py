"""The training loop of every recipe.

A loop of our own instead of `fit`, because `fit` of Keras 3 does not run on several machines
(keras issue 20585) while this one does in any `tf.distribute` strategy's scope.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from stages.cifar10 import CLASSES
from stages.errors import TrainingError
from stages.train import replicas
from stages.train.augmentation import Augmentation, Plan
from stages.train.averages import average
from stages.train.batches import Batches
from stages.train.history import Row, best, has_stalled
from stages.train.pixels import Pair, pick
from stages.train.recipes import Phase, Training

VALIDATION_BATCH_SIZE = 500
# Steps that TensorFlow takes between two looks at the progress: one of a CPU takes longer than what
# Python does in between, one of a GPU does not.
CPU_STEPS_PER_CALL, GPU_STEPS_PER_CALL = 1, 10

# From a device's part of a batch, images and labels, and the size of the whole batch to the sum of
# the part's losses and the number of right answers, float32 (2,).
Step = Callable[[tf.Tensor, tf.Tensor, int], tf.Tensor]
# From a chunk of a plan and the sums so far to the sums.
Steps = Callable[[Plan, tf.Tensor], tf.Tensor]


def train(
    training: Training,
    validation_images: np.ndarray,
    validation_labels: np.ndarray,
    finished: Sequence[Row] = (),
    on_gpu: bool = False,
) -> Iterator[Row]:
    """Train, and yield the history's row after each epoch.

    Args:
        training: what to train, and on which batches.
        validation_images: float32 (n, 32, 32, 3) in [0, 1]; n may be 0.
        validation_labels: uint8 (n,).
        finished: the rows of the epochs that the state of `training` has behind it.
        on_gpu: whether to compile steps by XLA, and take several of them at once.

    Yields:
        epoch (from 1), loss and accuracy over the epoch's batches as they were trained on,
        val_loss and val_accuracy where there are validation images, and the learning rate of the
        epoch's first step.

    Raises:
        TrainingError: the loss of the epoch is not finite.
    """
    validation = Batches(
        validation_images, validation_labels, VALIDATION_BATCH_SIZE, Augmentation(), seed=0
    )
    validation_steps = compiled_steps(validation, validation_step(training), on_gpu)
    steps_per_call = GPU_STEPS_PER_CALL if on_gpu else CPU_STEPS_PER_CALL
    rows = [*finished]
    last = training.phases[-1].epochs[-1] + 1
    for phase in training.phases:
        training_steps = compiled_steps(phase.batches, training_step(training, phase), on_gpu)
        for epoch in phase.epochs:
            if epoch < len(rows):
                continue
            if has_stalled(rows, training.patience):
                print(f"stopped: no better val_accuracy in {training.patience} epochs", flush=True)
                return
            start = time.monotonic()
            learning_rate = float(training.optimizer.learning_rate)
            title = f"epoch {epoch + 1}/{last}"
            plan, steps = phase.batches.plan(epoch), len(phase.batches)
            sums = tf.zeros(2)
            # disable=None: no bar where standard error is not a terminal.
            with tqdm(total=steps, desc=title, leave=False, unit="step", disable=None) as bar:
                for chunk in phase.batches.chunks(plan, steps_per_call):
                    sums = training_steps(chunk, sums)
                    bar.update(len(chunk["index"]))
            row = {"epoch": epoch + 1} | means(sums, plan)
            seconds = time.monotonic() - start
            if len(validation):
                plan, sums = validation.in_order(), tf.zeros(2)
                for chunk in validation.chunks(plan, len(validation)):
                    sums = validation_steps(chunk, sums)
                row |= means(sums, plan, "val_")
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


def means(sums: tf.Tensor, plan: Plan, prefix: str = "") -> Row:
    """Return loss and accuracy of a plan's images by their sums, their names after `prefix`."""
    loss, accuracy = (sums / len(plan["index"])).numpy()
    return {f"{prefix}loss": float(loss), f"{prefix}accuracy": float(accuracy)}


def training_step(training: Training, phase: Phase) -> Step:
    """Return the function that takes one step on a batch."""
    optimizer = training.optimizer

    def step(images: tf.Tensor, labels: tf.Tensor, size: int) -> tf.Tensor:
        with tf.GradientTape() as tape:
            answers = phase.model(images, training=True)
            loss = loss_of(training.loss, labels, answers, size)
        gradients = tape.gradient(loss, phase.variables)
        if optimizer.global_clipnorm:
            gradients = replicas.averaged(gradients)
        optimizer.apply(gradients, phase.variables)
        if training.averaged:
            average(training.averaged, training.model, training.ema_momentum, optimizer.iterations)
        return sums_of(loss, labels, answers, size)

    return step


def validation_step(training: Training) -> Step:
    """Return the function that measures a batch."""

    def step(images: tf.Tensor, labels: tf.Tensor, size: int) -> tf.Tensor:
        answers = training.measured(images, training=False)
        return sums_of(loss_of(training.loss, labels, answers, size), labels, answers, size)

    return step


def loss_of(loss: keras.losses.Loss, labels: tf.Tensor, answers: tf.Tensor, size: int) -> tf.Tensor:
    """Return what a device's part of a batch adds to the mean loss of all its `size` images."""
    mean = loss(tf.one_hot(labels, len(CLASSES)), answers)
    devices = replicas.count()
    if devices == 1:
        return mean
    # Keras has divided the mean of the part by the number of devices.
    return mean * tf.cast(devices * tf.size(labels), tf.float32) / size


def sums_of(loss: tf.Tensor, labels: tf.Tensor, answers: tf.Tensor, size: int) -> tf.Tensor:
    """Return the sum of losses, by their part of the mean, and the number of right answers."""
    right = tf.cast(tf.argmax(answers, -1) == labels, tf.float32)
    return tf.stack([loss * size, tf.reduce_sum(right)])


def compiled_steps(batches: Batches, step: Step, on_gpu: bool) -> Steps:
    """Return the function that takes `step` on each batch of a chunk and adds up what it gives."""
    # XLA compiles nothing that devices do together.
    if on_gpu and replicas.count() == 1:
        step = tf.function(step, jit_compile=True)

    def on_device(data: Pair, rows: dict[str, tf.Tensor]) -> tf.Tensor:
        part, copies = replicas.own_part(rows)
        return step(*pick(data, part), copies * len(rows["index"])) / copies

    @tf.function
    def steps(data: Pair, chunk: Plan, sums: tf.Tensor) -> tf.Tensor:
        for number in tf.range(len(chunk["index"])):
            rows = {name: values[number] for name, values in chunk.items()}
            sums += replicas.summed(on_device, data, rows)
        return sums

    return partial(steps, batches.data)
