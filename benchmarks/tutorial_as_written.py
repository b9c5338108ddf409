"""The 2018 tutorial as its reader runs it: Keras's `fit`, TensorFlow as it comes.

    python -m benchmarks.tutorial_as_written RECIPE_JSON SECONDS

Prints one line of JSON: images per second over and over the first hundred batches.
"""

import json
import sys
import time

import keras
import numpy as np

from stages import arrays
from stages.models import tutorial

BATCHES = 100


def main() -> None:
    recipe, seconds = json.loads(sys.argv[1]), float(sys.argv[2])
    model = tutorial.build(
        recipe["filters"], recipe["dense_units"], recipe["dropout"], recipe["dense_dropout"]
    )
    model.compile("rmsprop", "categorical_crossentropy", metrics=["accuracy"])
    images, labels = arrays.load("train")
    count = BATCHES * recipe["batch_size"]
    x, y = np.asarray(images[:count]), keras.utils.to_categorical(labels[:count], 10)
    rates: list[float] = []
    # The first round compiles.
    while not rates or sum(count / rate for rate in rates[1:]) < seconds:
        start = time.monotonic()
        model.fit(x, y, batch_size=recipe["batch_size"], verbose=0)
        rates.append(count / (time.monotonic() - start))
    print(json.dumps({"images_per_second": rates[1:]}))


if __name__ == "__main__":
    main()
