"""Makes a recipe's network: images in, probabilities out."""

from typing import Any

import numpy as np

from pipeline.common.config import Airbench, Network, ResNet, Tutorial
from pipeline.networks import airbench, resnet, tutorial

import keras

MODULES = {"tutorial": tutorial, "airbench": airbench, "resnet": resnet}


def build(
    params: Network, images: np.ndarray, classes: int, generator: np.random.Generator, on_cpu: bool
) -> keras.Model:
    """Return a network that turns images, (n, side, side, 3), into probabilities, (n, classes).

    Args:
        params: which network, and what it is made of.
        images: the training images, float32 (n, side, side, 3) in [0, 1].
        classes: the number of classes.
        generator: draws initial weights, where Keras's initializers do not.
        on_cpu: whether to use layers made for CPUs, or such as XLA can compile; the results are the
            same but for rounding.
    """
    return MODULES[params.name].build(params, images, classes, generator, on_cpu)


def narrowed(params: Network, width: float) -> Network:
    """Return a network that computes faster, with about `width` times as many filters.

    It picks the images that the other one is trained on. A network that is not named here picks
    them as well, only slowly: it stays as it is.
    """

    def fewer(filters: int) -> int:
        return max(1, round(filters * width))

    changed: dict[str, Any] = {}
    match params:
        case Tutorial():
            changed["filters"] = [*map(fewer, params.filters)]
            changed["dense_units"] = fewer(params.dense_units)
        case Airbench():
            changed["widths"] = [*map(fewer, params.widths)]
            changed["block_depth"] = 2
        case ResNet():
            changed["width"] = fewer(params.width)
    return params.model_copy(update=changed)


def frozen_after(params: Network, path: str) -> int | None:
    """Return after how many epochs the variable at `path` stays as it is; None: never."""
    if isinstance(params, Airbench) and path.endswith("whitening/bias"):
        return params.whitening_epochs
    return None
