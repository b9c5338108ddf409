"""Measures this project, as `python -m benchmarks.ours WORK SETTINGS`; prints a row as JSON a line.

WORK is steps or train; SETTINGS are its arguments as JSON.
"""

import time
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import numpy as np

from benchmarks.turns import Row, answer, duration, training_images
from pipeline.common import device
from pipeline.common.config import Device, Precision, Recipe
from pipeline.data.arrays import Split, load, read_dataset
from pipeline.evaluation.predictions import predict
from pipeline.layers.stock import with_stock_layers
from stages import train as stage

import keras
import tensorflow as tf
from tensorflow.python.framework.config import disable_op_determinism

NO_VALIDATION = np.empty((0, 0, 0, 3), np.float32), np.empty(0, np.uint8)


def epochs_of(
    recipe: dict,
    training: Split,
    seed: int,
    place: Device = "cpu",
    precision: Precision = "auto",
    deterministic: bool = True,
) -> Iterator[tuple[list, keras.Model]]:
    """Train a recipe as the stage does, without validation."""
    spec = device.use(place, precision)
    if not deterministic:
        disable_op_determinism()
    keras.utils.set_random_seed(seed)
    checked, classes = Recipe.model_validate(recipe), len(read_dataset().classes)
    with tf.device(spec.to_string()):
        yield from stage.train(checked, training, NO_VALIDATION, classes, seed, place == "gpu")


def steps(recipe: dict, count: int, seconds: float, **way: Any) -> Iterator[Row]:
    """Take so many steps at full resolution, without end; yield a row for each span of seconds.

    It has images per second and, of the first steps, how long they took with their compilation,
    their mean loss, and a hash of the weights after them.
    """
    recipe["epochs"] = recipe["network"]["whitening_epochs"] = 100_000
    recipe["augmentation"]["small_image_fraction"] = 0.0
    training = training_images(count * recipe["batch_size"])
    images = len(training[1])
    start = time.monotonic()
    epochs = epochs_of(recipe, training, 0, **way)
    history, model = next(epochs)
    first_call = time.monotonic() - start
    weights = sha256(b"".join(weight.tobytes() for weight in model.get_weights())).hexdigest()
    first = {"first_call": first_call, "loss": history[0]["loss"], "weights": weights[:16]}
    while True:
        rate = images / duration(lambda: next(epochs), seconds, warm_up=0)
        yield {"images": images, "images_per_second": rate, **first}


def train(recipe: dict, seed: int, **way: Any) -> Iterator[Row]:
    """Yield the time after each epoch, start included, and the test accuracy after the last one.

    Only training is on the clock.
    """
    test_images, test_labels = load("test")
    start, seconds = time.monotonic(), 0.0
    training = training_images()
    for history, trained in epochs_of(recipe, training, seed, **way):
        seconds += time.monotonic() - start
        row = {"epoch": len(history), "images": len(training[1]), "seconds": seconds}
        if len(history) == recipe["epochs"]:
            # Of the model as it is saved.
            model = with_stock_layers(trained, test_images.shape[1])
            probabilities, _ = predict(model, test_images, "flip_translate", 500)
            row["tta"] = float((probabilities.argmax(1) == test_labels).mean())
        yield row
        start = time.monotonic()


if __name__ == "__main__":
    answer(steps, train)
