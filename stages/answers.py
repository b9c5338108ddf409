"""Asks a network about images, batch by batch."""

import keras
import numpy as np
from tqdm import tqdm

# Below any probability that float32 tells from 0.
SMALLEST = np.finfo(np.float32).tiny


def answered(
    model: keras.Model, images: np.ndarray, batch_size: int, title: str | None = None
) -> np.ndarray:
    """Return class probabilities, float32 (n, 10), of images as they are.

    On a terminal a bar with this title shows the progress.

    Batch by batch, since `model.predict` reads by tf.data, and waits at the end, now and then, for
    the thread that tunes it to wake up (TensorFlow 2.21).
    """
    starts = range(0, len(images), batch_size)
    # disable=None: no bar where standard error is not a terminal.
    with tqdm(starts, desc=title, leave=False, unit="batch", disable=None) as bar:
        return np.concatenate(
            [model.predict_on_batch(images[first : first + batch_size]) for first in bar]
        )


def logits_of(probabilities: np.ndarray) -> np.ndarray:
    """Return logits (n, classes) of probabilities, of the same type; a softmax undoes it."""
    return np.log(np.maximum(probabilities, SMALLEST))
