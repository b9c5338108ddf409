"""Asks the trained model about images."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stages import device  # Before TensorFlow, which reads what it sets.
from stages.answers import answered
from stages.cifar10 import CLASSES
from stages.corruptions import Corruption, corrupted
from stages.errors import InputError, in_one_line
from stages.evaluate.augmentation import predict
from stages.evaluate.params import Tta
from stages.params import Device

import keras  # isort: skip
import tensorflow as tf  # isort: skip


def load_model(path: Path) -> keras.Model:
    """Return the trained model.

    Raises:
        InputError: it is damaged, or it does not classify CIFAR-10's images.
    """
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
        shapes = model.input_shape, model.output_shape
    except Exception as error:
        # Keras raises whatever its zip, JSON and HDF5 readers raise.
        raise InputError(f"{path}: not a readable Keras model: {in_one_line(error)}") from None
    if shapes != ((None, 32, 32, 3), (None, len(CLASSES))):
        raise InputError(f"{path}: takes and gives {shapes}; expected (n, 32, 32, 3) and (n, 10)")
    return model


def check_probabilities(probabilities: np.ndarray, path: Path) -> None:
    """Raise an InputError where what the model at `path` gives are no probabilities."""
    sums = probabilities.sum(axis=1)
    # Also false where one is not a number.
    if not ((probabilities >= 0).all() and np.allclose(sums, 1, atol=1e-3)):
        raise InputError(f"{path}: gives no class probabilities; expected are 0 to 1, in sum 1")


def infer(
    path: Path,
    images: np.ndarray,
    tta: Tta,
    batch_size: int,
    wanted: Device,
    corruptions: Sequence[Corruption] = (),
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Return class probabilities, float32 (n, 10) each.

    First those with test-time augmentation, then those without, and those of the images under each
    corruption, without as well.

    Args:
        path: the model.
        images: float32 (n, 32, 32, 3) in [0, 1].
        tta: which views of an image are averaged.
        batch_size: images at a time.
        wanted: the device.
        corruptions: what is done to the images.

    Raises:
        InputError: the model cannot be used, the device that is wanted is not there, or it has too
            little memory.
    """
    (place,) = device.select(wanted)
    with tf.device(place.to_string()):
        model = load_model(path)
        with device.enough_memory(f"evaluate.batch_size = {batch_size}", "a smaller one"):
            probabilities, plain = predict(model, images, tta, batch_size)
            under_corruptions = [
                answered(model, corrupted(images, name), batch_size, name) for name in corruptions
            ]
    # Averaging over views ends in a softmax, which would hide what the model itself gives.
    for answers in (probabilities, plain, *under_corruptions):
        check_probabilities(answers, path)
    return probabilities, plain, under_corruptions
