"""The training loop of every recipe.

A loop of our own instead of `fit`, because `fit` of Keras 3 does not run on several machines
(keras issue 20585) while this one does in any `tf.distribute` strategy's scope.
"""

import math
import time
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from stages.errors import TrainingError
from stages.train.augmentation import Augmentation, Plan
from stages.train.batches import Batches
from stages.train.history import Row, best, has_stalled
from stages.train.recipes import Training
from stages.train.steps import compiled_steps, training_step, validation_step

VALIDATION_BATCH_SIZE = 500
# Steps that TensorFlow takes between two looks at the progress: one of a CPU takes longer than what
# Python does in between, one of a GPU does not.
CPU_STEPS_PER_CALL, GPU_STEPS_PER_CALL = 1, 10


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
