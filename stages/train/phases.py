"""Divides a training into phases: which variables an epoch trains, on images of which size."""

from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby

import keras
import numpy as np

from stages.cifar10 import SIDE
from stages.train.batches import Batches
from stages.train.copies import with_copies
from stages.train.params import Recipe
from stages.train.pixels import shrunk
from stages.train.selection import Proxy


@dataclass(frozen=True)
class Phase:
    """Consecutive epochs that train the same variables on images of the same size.

    Where there is a proxy, on those images of a batch that it picks.
    """

    epochs: range
    model: keras.Model
    variables: list[keras.Variable]
    batches: Batches
    proxy: Proxy | None = None


def phases_of(
    recipe: Recipe,
    model: keras.Model,
    images: np.ndarray,
    labels: np.ndarray,
    seed: int,
    proxy: Proxy | None = None,
) -> list[Phase]:
    """Copy and shrink images as the recipe asks, and leave out variables that have learned."""
    if recipe.augmentation.jpeg:
        images = with_copies(images, seed)
    low_epochs = recipe.augmentation.low_resolution_epochs(recipe.epochs)

    @cache
    def batches(side: int) -> Batches:
        return Batches(shrunk(images, side), labels, recipe.batch_size, recipe.augmentation, seed)

    def variables(epoch: int, of: keras.Model = model) -> list[keras.Variable]:
        return [
            variable
            for variable in of.trainable_variables
            if epoch < recipe.network.training_epochs(variable.path, recipe.epochs)
        ]

    phases = []
    for (is_low, _), epochs in groupby(
        range(recipe.epochs), lambda epoch: (epoch < low_epochs, len(variables(epoch)))
    ):
        first, *others = epochs
        side = recipe.augmentation.low_resolution if is_low else SIDE
        phases.append(
            Phase(
                range(first, first + 1 + len(others)),
                at_side(model, side),
                variables(first),
                batches(side),
                proxy
                and replace(
                    proxy,
                    model=at_side(proxy.model, side),
                    variables=variables(first, proxy.model),
                ),
            )
        )
    return phases


def at_side(model: keras.Model, side: int) -> keras.Model:
    """Return the same network, its weights shared, for images (n, side, side, 3)."""
    if model.input_shape[1] == side:
        return model
    images = keras.Input((side, side, 3))
    return keras.models.clone_model(model, images, clone_function=lambda layer: layer)
