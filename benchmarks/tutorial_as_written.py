"""The 2018 tutorial as its reader runs it: Keras's `fit`, TensorFlow as it comes.

    python -m benchmarks.tutorial_as_written RECIPE_JSON SECONDS

Prints one line of JSON: images per second over and over the first hundred batches.
"""

import json
import sys

import keras
import numpy as np

from benchmarks.timing import timed
from stages import arrays
from stages.models.tutorial import Tutorial
from stages.train.randomness import stream

BATCHES = 100


def main() -> None:
    recipe, seconds = json.loads(sys.argv[1]), float(sys.argv[2])
    images, labels = arrays.load("train")
    model = Tutorial(**recipe["network"]).build(images, stream(0, "weights"), on_cpu=False)
    model.compile("rmsprop", "categorical_crossentropy", metrics=["accuracy"])
    count = BATCHES * recipe["batch_size"]
    x, y = np.asarray(images[:count]), keras.utils.to_categorical(labels[:count], 10)

    def work() -> None:
        model.fit(x, y, batch_size=recipe["batch_size"], verbose=0)

    # The first round compiles.
    rates = [count / duration for duration in timed(work, seconds, warm_up=1)]
    print(json.dumps({"images_per_second": rates}))


if __name__ == "__main__":
    main()
