"""Takes steps: of training or of validation, several in one call, compiled by XLA on a GPU."""

from collections.abc import Callable
from functools import partial

import tensorflow as tf

from stages.train import replicas
from stages.train.augmentation import Plan
from stages.train.averages import average
from stages.train.batches import Batches
from stages.train.phases import Phase
from stages.train.pixels import Pair, pick
from stages.train.recipes import Training

# From a device's part of a batch, images and labels, and the size of the whole batch to the sum of
# the part's losses and the number of right answers, float32 (2,).
Step = Callable[[tf.Tensor, tf.Tensor, int], tf.Tensor]
# From a chunk of a plan and the sums so far to the sums.
Steps = Callable[[Plan, tf.Tensor], tf.Tensor]


def training_step(training: Training, phase: Phase) -> Step:
    """Return the function that takes one step on a batch."""
    optimizer = training.optimizer

    def step(images: tf.Tensor, labels: tf.Tensor, size: int) -> tf.Tensor:
        trained: float = size
        if phase.proxy:
            images, labels, trained = phase.proxy.train_on_hardest(
                images, labels, size, training.loss
            )
        with tf.GradientTape() as tape:
            answers = phase.model(images, training=True)
            loss = replicas.mean_loss(training.loss, labels, answers, trained)
        replicas.apply(optimizer, tape.gradient(loss, phase.variables), phase.variables)
        if training.averaged:
            average(training.averaged, training.model, training.ema_momentum, optimizer.iterations)
        # The history's means are over all images, so the picked ones stand for the others.
        return sums_of(loss, labels, answers, trained) * (size / trained)

    return step


def validation_step(training: Training) -> Step:
    """Return the function that measures a batch."""

    def step(images: tf.Tensor, labels: tf.Tensor, size: int) -> tf.Tensor:
        answers = training.measured(images, training=False)
        loss = replicas.mean_loss(training.loss, labels, answers, size)
        return sums_of(loss, labels, answers, size)

    return step


def sums_of(loss: tf.Tensor, labels: tf.Tensor, answers: tf.Tensor, size: float) -> tf.Tensor:
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
