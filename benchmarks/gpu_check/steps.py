"""Takes some steps in one way, and prints their mean loss and how long one took, s, as JSON.

python -m benchmarks.gpu_check.steps RECIPE STEPS WEIGHTS DEVICE PRECISION COMPILED DETERMINISTIC
"""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from benchmarks.images import training_images
from stages import device  # Before TensorFlow, which reads what it sets.
from stages.errors import in_one_line
from stages.params import Device, Precision, read
from stages.train.augmentation import Plan
from stages.train.params import Recipe
from stages.train.recipes import Training, assemble
from stages.train.steps import compiled_steps, training_step

import keras  # isort: skip
import tensorflow as tf  # isort: skip
from tensorflow.python.framework.config import disable_op_determinism  # isort: skip

STEPS_PER_CALL = 10
# After those that are compared.
TIMED_CALLS = 5


@contextmanager
def assembled(
    name: str, where: str, precision: str, is_compiled: bool, is_deterministic: bool = True
) -> Iterator[Training]:
    """Yield what a recipe trains on all images, the device in use meanwhile."""
    (place,) = device.select(
        TypeAdapter[Device](Device).validate_python(where),
        TypeAdapter[Precision](Precision).validate_python(precision),
    )
    if not is_deterministic:
        disable_op_determinism()
    recipe = read(f"recipes.{name}", Recipe)
    keras.utils.set_random_seed(0)
    on_cpu = where == "cpu" and precision == "float32" and not is_compiled
    with tf.device(place.to_string()):
        yield assemble(recipe, *training_images(), seed=0, on_cpu=on_cpu)


def measured(training: Training, steps: int, is_compiled: bool, weights: Path) -> dict[str, Any]:
    """Take steps of the last phase; return mean loss, time of the first call and of a step, s."""
    phase = training.phases[-1]
    run = compiled_steps(phase.batches, training_step(training, phase), on_gpu=is_compiled)
    chunks = phase.batches.chunks(phase.batches.plan(0), STEPS_PER_CALL)
    start = time.monotonic()
    sums = run(next(chunks), tf.zeros(2)).numpy()
    first_call = time.monotonic() - start
    for _ in range(steps // STEPS_PER_CALL - 1):
        sums = run(next(chunks), tf.constant(sums)).numpy()
    np.savez(weights, *training.model.get_weights(), allow_pickle=False)
    durations = []
    chunk = next(chunks)
    for _ in range(TIMED_CALLS):
        start = time.monotonic()
        run(chunk, tf.zeros(2)).numpy()
        durations.append((time.monotonic() - start) / STEPS_PER_CALL)
    missing = missing_operation(training, chunk)
    loss = float(sums[0]) / (steps * phase.batches.batch_size)
    return {"loss": loss, "first_call": first_call, "step": min(durations), "missing": missing}


def missing_operation(training: Training, chunk: Plan) -> str:
    """Return what TensorFlow says of an operation that the device has not; nothing if it has all.

    Otherwise it would take the CPU for that one.
    """
    tf.config.set_soft_device_placement(False)
    phase = training.phases[-1]
    try:
        compiled_steps(phase.batches, training_step(training, phase), on_gpu=False)(
            chunk, tf.zeros(2)
        )
    except tf.errors.InvalidArgumentError as error:
        return in_one_line(error)[:200]
    return ""


def main() -> None:
    name, steps, weights, where, precision, *switches = sys.argv[1:]
    is_compiled, is_deterministic = (switch == "yes" for switch in switches)
    with assembled(name, where, precision, is_compiled, is_deterministic) as training:
        results = measured(training, int(steps), is_compiled, Path(weights))
    print(json.dumps(results))


if __name__ == "__main__":
    main()
