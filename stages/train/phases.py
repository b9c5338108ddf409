"""Divides a training into phases: which variables an epoch trains, on images of which size."""

from dataclasses import dataclass
from functools import cache
from itertools import groupby

import keras
import numpy as np

from stages.cifar10 import SIDE
from stages.train.batches import Batches
from stages.train.copies import with_copies
from stages.train.params import Recipe
from stages.train.pixels import shrunk


@dataclass(frozen=True)
class Phase:
    """Consecutive epochs that train the same variables on images of the same size."""

    epochs: range
    model: keras.Model
    variables: list[keras.Variable]
    batches: Batches


def phases_of(
    recipe: Recipe, model: keras.Model, images: np.ndarray, labels: np.ndarray, seed: int
) -> list[Phase]:
    """Copy and shrink images as the recipe asks, and leave out variables that have learned."""
    if recipe.augmentation.jpeg:
        images = with_copies(images, seed)
    low_epochs = recipe.augmentation.low_resolution_epochs(recipe.epochs)

    @cache
    def batches(side: int) -> Batches:
        return Batches(shrunk(images, side), labels, recipe.batch_size, recipe.augmentation, seed)

    def variables(epoch: int) -> list[keras.Variable]:
        return [
            variable
            for variable in model.trainable_variables
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
            )
        )
    return phases


def at_side(model: keras.Model, side: int) -> keras.Model:
    """Return the same network, its weights shared, for images (n, side, side, 3)."""
    if model.input_shape[1] == side:
        return model
    images = keras.Input((side, side, 3))
    return keras.models.clone_model(model, images, clone_function=lambda layer: layer)
