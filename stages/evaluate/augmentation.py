"""Test-time augmentation: the mean answer to several views of each image."""

import keras
import numpy as np

from stages.answers import answered, logits_of
from stages.evaluate.params import Tta


def views(images: np.ndarray, tta: Tta) -> list[tuple[float, np.ndarray]]:
    """Return views of images (n, height, width, 3) with their weights, which sum to 1.

    `flip` is the image and its mirror image; `flip_translate` takes half of these and half of the
    same two moved by a pixel up and left, and down and right, the border mirrored, as
    arXiv 2404.00498 does.
    """
    if tta == "none":
        return [(1.0, images)]
    if tta == "flip":
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
    model: keras.Model, images: np.ndarray, tta: Tta, batch_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return class probabilities with augmentation, and those of the images as they are.

    Both are float32 (n, 10). Averaged are the logits, as in the paper: the geometric mean of the
    probabilities, normalized.
    """
    weights, images_of_views = zip(*views(images, tta), strict=True)
    answers = [
        answered(model, view, batch_size, f"view {number}/{len(weights)}")
        for number, view in enumerate(images_of_views, start=1)
    ]
    if tta == "none":
        return answers[0], answers[0]
    logits = sum(
        weight * logits_of(answer) for weight, answer in zip(weights, answers, strict=True)
    )
    return keras.ops.convert_to_numpy(keras.ops.softmax(logits)), answers[0]
