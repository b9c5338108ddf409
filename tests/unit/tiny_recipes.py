"""The recipes of params.yaml on networks and images so small that a training takes no time."""

from typing import Any

import numpy as np

from stages import device as device  # First, since TensorFlow reads what it sets.
from stages.train.params import Recipe
from stages.train.recipes import Training, assemble
from tests.project import default_params

import keras  # isort: skip
import tensorflow as tf  # isort: skip

IMAGES = np.random.default_rng(0).random((5, 32, 32, 3), np.float32)
LABELS = np.array([3, 1, 4, 1, 5], np.uint8)

# The smallest values of params.yaml show in no float32, so they are larger.
NETWORKS: dict[str, dict[str, Any]] = {
    "tutorial": {"filters": [2, 3, 2], "pool_after": [1, 3], "dense_units": 3},
    "airbench": {
        "widths": [2, 3, 4],
        "whitening_images": 3,
        "whitening_epochs": 1,
        "batch_norm_epsilon": 0.1,
    },
    "resnet": {"depth": 8, "width": 2},
}
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "rmsprop": {"epsilon": 1e-3},
    "sgd": {"weight_decay": 0.01},
    "muon": {"sgd_weight_decay": 0.01},
}
SMALL_SIDES = {"airbench": 9, "resnet": 5}


def made_tiny(recipe: dict[str, Any]) -> dict[str, Any]:
    """Return a recipe with tiny parts, two steps an epoch; half of the epochs on small images."""
    network, optimizer = recipe["network"]["name"], recipe["optimizer"]["name"]
    side = SMALL_SIDES.get(network)
    low = {"low_resolution": side, "low_resolution_share": 0.5} if side else {}
    changed = {
        "network": NETWORKS[network],
        "optimizer": OPTIMIZERS[optimizer],
        "augmentation": low,
        "batch_size": 3,
        "epochs": 2,
    }
    return merged(recipe, changed)


def merged(recipe: dict[str, Any], changed: dict[str, Any]) -> dict[str, Any]:
    """Return a recipe, some of its keys and of its parts' keys replaced."""
    return recipe | {
        key: recipe[key] | value if isinstance(value, dict) else value
        for key, value in changed.items()
    }


RECIPES_MADE_TINY: dict[str, dict[str, Any]] = {
    name: made_tiny(recipe) for name, recipe in default_params()["recipes"].items()
}


def tiny(name: str, **changed: Any) -> Recipe:
    """Return a recipe, made tiny, some of its keys and of its parts' keys replaced."""
    return Recipe.model_validate(merged(RECIPES_MADE_TINY[name], changed))


def assembled(recipe: Recipe, seed: int = 0, on_cpu: bool = False) -> Training:
    """Return what `recipe` trains on the images, its weights and dropout always the same."""
    keras.utils.set_random_seed(0)
    return assemble(recipe, IMAGES, LABELS, seed, on_cpu)


def gradients(training: Training, step: int) -> list[np.ndarray]:
    """Return a random gradient for each variable, others at each step."""
    generator = np.random.default_rng(step)
    return [
        generator.normal(size=variable.shape).astype(np.float32)
        for variable in training.model.trainable_variables
    ]


def stepped(training: Training, of_step: list[np.ndarray]) -> list[np.ndarray]:
    """Take one step by the gradients, and return what the variables are then."""
    variables = training.model.trainable_variables
    training.optimizer.apply([tf.constant(gradient) for gradient in of_step], variables)
    return [variable.numpy() for variable in variables]
