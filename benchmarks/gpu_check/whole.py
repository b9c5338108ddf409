"""Trains a recipe to its end on all training images, and says how long that took and what it is.

python -m benchmarks.gpu_check.whole RECIPE DEVICE PRECISION
"""

import sys
import time

import numpy as np

from benchmarks.gpu_check.steps import STEPS_PER_CALL, assembled
from stages import arrays
from stages.evaluate.augmentation import predict
from stages.models.stock_layers import with_stock_layers
from stages.train.recipes import Training
from stages.train.steps import Steps, compiled_steps, training_step

import tensorflow as tf  # isort: skip


def compiled(training: Training, on_gpu: bool) -> list[Steps]:
    """Return the steps of each phase, compiled for batches of all sizes; nothing is trained."""
    before = [variable.numpy() for variable in training.state]
    functions = []
    for phase in training.phases:
        run = compiled_steps(phase.batches, training_step(training, phase), on_gpu)
        chunks = [*phase.batches.chunks(phase.batches.plan(0), STEPS_PER_CALL)]
        for chunk in {chunk["index"].shape: chunk for chunk in chunks}.values():
            run(chunk, tf.zeros(2))
        functions.append(run)
    for variable, value in zip(training.state, before, strict=True):
        variable.assign(value)
    return functions


def trained(training: Training, functions: list[Steps]) -> None:
    """Train all epochs."""
    for phase, run in zip(training.phases, functions, strict=True):
        for epoch in phase.epochs:
            sums = tf.zeros(2)
            for chunk in phase.batches.chunks(phase.batches.plan(epoch), STEPS_PER_CALL):
                sums = run(chunk, sums)
            loss, accuracy = sums.numpy() / phase.batches.size
            print(f"epoch {epoch + 1}  loss {loss:.4f}  accuracy {accuracy:.4f}", flush=True)


def main() -> None:
    name, where, precision = sys.argv[1:]
    with assembled(name, where, precision, is_compiled=True) as training:
        start = time.monotonic()
        functions = compiled(training, on_gpu=True)
        compiling = time.monotonic() - start
        start = time.monotonic()
        trained(training, functions)
        training_time = time.monotonic() - start
        images, labels = arrays.load("test")
        answers, plain = predict(with_stock_layers(training.kept), images, "flip_translate", 500)
    right, right_plain = (float(np.mean(x.argmax(1) == labels)) for x in (answers, plain))
    print(f"{name}: {training_time:.1f} s of training after {compiling:.1f} s of compilation")
    print(f"test accuracy {100 * right:.2f} %, without views {100 * right_plain:.2f} %")


if __name__ == "__main__":
    main()
