"""The recipes of params.yaml on networks and images so small that a training takes no time."""

from typing import Any

import numpy as np

from stages import device as device  # First, since TensorFlow reads what it sets.
from stages.train.params import RECIPES, Recipe
from stages.train.recipes import Training, assemble
from tests.project import default_params

import keras  # isort: skip

IMAGES = np.random.default_rng(0).random((5, 32, 32, 3), np.float32)
LABELS = np.array([3, 1, 4, 1, 5], np.uint8)

# Two steps an epoch. The smallest values of params.yaml show in no float32, so they are larger.
TINY = {
    "tutorial": {"filters": 2, "dense_units": 3, "epsilon": 1e-3, "batch_size": 3, "epochs": 2},
    "airbench": {
        "widths": [2, 3, 4],
        "whitening_images": 3,
        "whitening_epochs": 1,
        "low_resolution": 9,
        "low_resolution_share": 0.5,
        "batch_norm_epsilon": 0.1,
        "weight_decay": 0.01,
        "batch_size": 3,
        "epochs": 2,
    },
}


RECIPES_MADE_TINY: dict[str, dict[str, Any]] = {
    name: recipe | TINY[recipe["model"]] for name, recipe in default_params()["recipes"].items()
}


def tiny(name: str, **settings: Any) -> Recipe:
    """Return a recipe, made tiny, some of its parameters replaced."""
    recipe = RECIPES_MADE_TINY[name] | settings
    return RECIPES[recipe["model"]](**recipe)


def assembled(recipe: Recipe, seed: int = 0, on_cpu: bool = False) -> Training:
    """Return what `recipe` trains on the images, its weights and dropout always the same."""
    keras.utils.set_random_seed(0)
    return assemble(recipe, IMAGES, LABELS, seed, on_cpu)
