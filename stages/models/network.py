"""What every network has in common: parameters of its own, and how they become a model."""

from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from stages.cifar10 import SIDE
from stages.params import Section

if TYPE_CHECKING:
    import keras


class Network(Section):
    """Base of the networks' parameters.

    Parameters are checked before TensorFlow starts, which takes seconds, so `build` imports Keras
    itself.
    """

    # Height and width in pixels; SIDE where the network takes images of no other size.
    smallest_side: ClassVar[int] = SIDE

    def build(
        self, images: np.ndarray, generator: np.random.Generator, on_cpu: bool
    ) -> "keras.Model":
        """Return the network: images, float32 (n, 32, 32, 3) in [0, 1], to probabilities (n, 10).

        Args:
            images: the training images, float32 (n, 32, 32, 3) in [0, 1].
            generator: draws initial weights, where Keras's initializers do not.
            on_cpu: whether to use layers made for CPUs, or such as XLA can compile; the results are
                the same but for rounding.
        """
        raise NotImplementedError

    def training_epochs(self, path: str, epochs: int) -> int:
        """Return for how many of a training's epochs the variable at `path` is trained: all."""
        return epochs

    def narrowed(self, width: float) -> Self:
        """Return a network that computes faster, with about `width` times as many filters.

        It picks the images that this one is trained on. A network that has no fewer filters picks
        them as well, only slowly.
        """
        return self


def fewer(filters: list[int], width: float) -> list[int]:
    """Return `width` times as many filters of each layer, at least one."""
    return [max(1, round(count * width)) for count in filters]
