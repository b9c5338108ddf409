"""Class probabilities of a trained model, of images as they are or as a mean over their views."""

import json
import math
import zipfile
from pathlib import Path

import numpy as np
from tqdm import tqdm

from pipeline.common import device as device  # Starts TensorFlow quietly.
from pipeline.common.config import TestTimeAugmentation
from pipeline.common.shell import UserError, one_line
from pipeline.data.arrays import Dataset, read_dataset

import keras

# Of the images, those of the lowest confidence: the views seldom change the class of the others.
UNSURE_FRACTION = 0.25
# Below any probability that float32 tells from 0.
SMALLEST = np.finfo(np.float32).tiny


def load_model(path: Path) -> tuple[keras.Model, Dataset]:
    """Return a trained model, and the classes and the side of the images that it is for.

    Raises:
        UserError: it is missing or damaged, or does not turn square images into probabilities.
    """
    if not path.exists():
        raise UserError(f"{path}: missing; `dvc repro train` makes it, `dvc pull` may bring it")
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
        with zipfile.ZipFile(path) as file:
            names = json.loads(file.read("metadata.json")).get("classes")
        (_, height, width, channels), (_, probabilities) = model.input_shape, model.output_shape
    except Exception as error:
        # Keras raises whatever its zip, JSON and HDF5 readers raise.
        raise UserError(f"{path}: not a readable Keras model: {one_line(error)}") from None
    # A model from elsewhere does not name its classes; they may be those of the arrays here.
    classes = tuple(names or read_dataset().classes)
    if (height, channels, probabilities) != (width, 3, len(classes)):
        raise UserError(
            f"{path}: takes {model.input_shape}, gives {model.output_shape}; expected are square "
            f"images of three colours and the probabilities of {len(classes)} classes"
        )
    return model, Dataset(classes, height)


def check_probabilities(probabilities: np.ndarray, path: Path) -> None:
    """Raise a UserError where what the model at `path` gives are no probabilities.

    Ask it of `class_probabilities`: the mean over views ends in a softmax, which would hide it.
    """
    sums = probabilities.sum(axis=1)
    # Also false where one is not a number.
    if not ((probabilities >= 0).all() and np.allclose(sums, 1, atol=1e-3)):
        raise UserError(f"{path}: gives no class probabilities; expected are 0 to 1, in sum 1")


def class_probabilities(
    model: keras.Model, images: np.ndarray, batch_size: int, title: str | None = None
) -> np.ndarray:
    """Return class probabilities, float32 (n, classes), of images as they are.

    Batch by batch, since `model.predict` reads by tf.data, and waits at the end, now and then, for
    the thread that tunes it to wake up (TensorFlow 2.21). A title is that of a bar.
    """
    starts = range(0, len(images), batch_size)
    # disable=None: no bar where standard error is not a terminal.
    bar = tqdm(starts, title, leave=False, unit="batch", disable=None if title else True)
    batches = [model.predict_on_batch(images[first : first + batch_size]) for first in bar]
    return np.concatenate(batches)


def logits_of(probabilities: np.ndarray) -> np.ndarray:
    """Return logits (n, classes) of probabilities, of the same type; a softmax undoes it."""
    return np.log(np.maximum(probabilities, SMALLEST))


def views(images: np.ndarray, augmentation: TestTimeAugmentation) -> list[tuple[float, np.ndarray]]:
    """Return views of images (n, height, width, 3), first they themselves, with their weights.

    The weights sum to 1. `flip` is the image and its mirror image. The other values take half of
    these and half of the same two moved by a pixel up and left, and down and right, the border
    mirrored, as arXiv 2404.00498 does.
    """
    if augmentation == "none":
        return [(1.0, images)]
    if augmentation == "flip":
        return [(0.5, images), (0.5, images[:, :, ::-1])]
    height, width = images.shape[1:3]
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), "reflect")
    moved = [padded[:, i : i + height, i : i + width] for i in (0, 2)]
    return [
        (weight / 2, view)
        for weight, image in zip((0.5, 0.25, 0.25), (images, *moved), strict=True)
        for view in (image, image[:, :, ::-1])
    ]


def predict(
    model: keras.Model,
    images: np.ndarray,
    augmentation: TestTimeAugmentation,
    batch_size: int,
    title: str | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return class probabilities over all views, and those of the images as they are.

    Both are float32 (n, classes). Averaged are the logits, as in arXiv 2404.00498: the geometric
    mean of the probabilities, normalized. `flip_translate_unsure` takes the six views of the
    quarter of the images with the lowest confidence. A title is that of bars.
    """
    one_view = class_probabilities(model, images, batch_size, title)
    probabilities = one_view.copy()
    seen = np.arange(len(images))
    if augmentation == "flip_translate_unsure":
        by_confidence = one_view.max(axis=1).argsort(kind="stable")
        # In the order of the images, whatever their confidence.
        seen = np.sort(by_confidence[: math.ceil(UNSURE_FRACTION * len(images))])
    (weight, _), *others = views(images[seen], augmentation)
    if others:
        logits = weight * logits_of(one_view[seen])
        for number, (weight, view) in enumerate(others, start=2):
            told = title and f"{title}, view {number}"
            logits += weight * logits_of(class_probabilities(model, view, batch_size, told))
        probabilities[seen] = keras.ops.convert_to_numpy(keras.ops.softmax(logits))
    return probabilities, one_view
