"""Measures this project's side of the benchmark; prints JSON, a line for each result.

python -m benchmarks.ours peak SECONDS
python -m benchmarks.ours throughput BATCH_SIZE RECIPE_JSON SECONDS [DETERMINISTIC]
python -m benchmarks.ours outside RECIPE_JSON IMAGES
python -m benchmarks.ours train RECIPE_JSON SEED [IMAGES]
"""

import json
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np

from benchmarks.images import training_images
from benchmarks.machine import precisions
from benchmarks.timing import timed
from benchmarks.turns import print_in_turns
from stages import arrays, device  # `device` before TensorFlow, which reads what it sets.
from stages.evaluate.augmentation import predict
from stages.models.stock_layers import with_stock_layers
from stages.train.batches import Batches
from stages.train.loop import train
from stages.train.params import Recipe
from stages.train.pixels import Pair, pick
from stages.train.recipes import Training, assemble
from stages.train.steps import compiled_steps, training_step

import keras  # isort: skip
import tensorflow as tf  # isort: skip
from tensorflow.python.framework.config import disable_op_determinism  # isort: skip

STEPS_IN_TURN = 5


def assembled(
    recipe: dict, seed: int = 0, images: int | None = None, deterministic: bool = True
) -> Training:
    """Return what a recipe trains, on the first so many images."""
    device.select("cpu", "auto")
    if not deterministic:
        disable_op_determinism()
    keras.utils.set_random_seed(seed)
    return assemble(Recipe(**recipe), *training_images(images), seed, on_cpu=True)


def step_of(training: Training) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Return the training step of the first phase."""
    step = training_step(training, training.phases[0])
    return tf.function(lambda images, labels: step(images, labels, len(labels)))


def first_batch(batches: Batches) -> Pair:
    """Return images and labels of the first batch of the first epoch."""
    chunk = next(batches.chunks(batches.plan(0), 1))
    return pick(batches.data, {name: rows[0] for name, rows in chunk.items()})


def peak(seconds: float) -> dict:
    """Return the rates of TensorFlow's matrix products by their precision, FLOP/s."""
    device.select("cpu")
    side = 4096
    x = np.random.default_rng(0).random((side, side), np.float32)
    product = tf.function(lambda x: tf.matmul(x, x))

    def rates(precision: str) -> list[float]:
        tensor = tf.cast(x, precision)
        durations = timed(lambda: product(tensor).numpy(), seconds)
        return [2 * side**3 / duration for duration in durations]

    return {precision: rates(precision) for precision in precisions()}


def throughput(batch_size: int, recipe: dict, seconds: float, deterministic: bool = True) -> dict:
    """Return images per second of each training step, on one batch at full resolution."""
    recipe |= {"batch_size": batch_size}
    recipe["augmentation"]["low_resolution_share"] = 0.0
    training = assembled(recipe, images=batch_size, deterministic=deterministic)
    step = step_of(training)
    images, labels = first_batch(training.phases[0].batches)

    def work() -> None:
        step(images, labels)
        training.optimizer.iterations.numpy()

    return {"images_per_second": [batch_size / t for t in timed(work, seconds)]}


def outside(recipe: dict, images: int) -> dict:
    """Return the time of an epoch as the loop takes it, and of as many steps on one batch, s.

    A few steps of the one and of the other in turns, so that both see the same machine.
    """
    training = assembled(recipe, images=images)
    phase, step = training.phases[0], step_of(training)
    batches, batch = phase.batches, first_batch(phase.batches)
    steps = compiled_steps(batches, training_step(training, phase), on_gpu=False)
    sums = steps(next(batches.chunks(batches.plan(0), 1)), tf.zeros(2))
    step(*batch)
    loop, bare = [], []
    start = time.monotonic()
    for number, chunk in enumerate(batches.chunks(batches.plan(0), 1), start=1):
        sums = steps(chunk, sums)
        if number % STEPS_IN_TURN and number < len(batches):
            continue
        loop.append(time.monotonic() - start)
        start = time.monotonic()
        for _ in range((number - 1) % STEPS_IN_TURN + 1):
            step(*batch)
        bare.append(time.monotonic() - start)
        start = time.monotonic()
    return {"loop": loop, "bare": bare}


def train_and_test(recipe: dict, seed: int, images: int | None = None) -> Iterator[dict]:
    """Return the time after each epoch, start included, and the test accuracies after the last one.

    On the first so many training images; only training is on the clock.
    """
    test_images, test_labels = arrays.load("test")
    start = time.monotonic()
    training = assembled(recipe, seed, images)
    seconds = 0.0
    for row in train(training, test_images[:0], test_labels[:0]):
        seconds += time.monotonic() - start
        result = {"epoch": row["epoch"], "seconds": seconds}
        if row["epoch"] == recipe["epochs"]:
            # Of the model as it is saved.
            model = with_stock_layers(training.model)
            tta, plain = predict(model, test_images, "flip_translate", 500)
            for name, probabilities in (("plain", plain), ("tta", tta)):
                result[name] = float((probabilities.argmax(1) == test_labels).mean())
        yield result
        start = time.monotonic()


def main() -> None:
    what, *arguments = sys.argv[1:]
    values = [json.loads(argument) for argument in arguments]
    if what == "train":
        print_in_turns(train_and_test(*values))
        return
    works: dict[str, Callable[..., dict]] = {
        "peak": peak,
        "throughput": throughput,
        "outside": outside,
    }
    print(json.dumps(works[what](*values)))


if __name__ == "__main__":
    main()
