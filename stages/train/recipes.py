"""Puts the parts of a recipe together: network, optimizer, loss and batches."""

from dataclasses import dataclass

import keras
import numpy as np

from stages.models import airbench, tutorial
from stages.train.batches import FlippedAndTranslated, Shuffled
from stages.train.muon import Muon
from stages.train.params import AirbenchRecipe, Recipe, TutorialRecipe
from stages.train.randomness import stream


@dataclass(frozen=True)
class Training:
    """What the training loop works on."""

    model: keras.Model
    optimizer: keras.optimizers.Optimizer
    loss: keras.losses.CategoricalCrossentropy
    batches: Shuffled


def assemble(recipe: Recipe, images: np.ndarray, labels: np.ndarray, seed: int) -> Training:
    """Make what `recipe` names.

    Args:
        recipe: the checked parameters.
        images: training images, float32 (n, 32, 32, 3) in [0, 1].
        labels: their classes, uint8 (n,).
        seed: of every random stream.
    """
    if isinstance(recipe, TutorialRecipe):
        return assemble_tutorial(recipe, images, labels, seed)
    return assemble_airbench(recipe, images, labels, seed)


def assemble_tutorial(
    recipe: TutorialRecipe, images: np.ndarray, labels: np.ndarray, seed: int
) -> Training:
    """RMSprop at a constant rate, images as they are."""
    return Training(
        tutorial.build(recipe.filters, recipe.dense_units, recipe.dropout, recipe.dense_dropout),
        keras.optimizers.RMSprop(recipe.learning_rate, recipe.rho, recipe.momentum, recipe.epsilon),
        keras.losses.CategoricalCrossentropy(),
        Shuffled(images, labels, recipe.batch_size, seed),
    )


def assemble_airbench(
    recipe: AirbenchRecipe, images: np.ndarray, labels: np.ndarray, seed: int
) -> Training:
    """Muon and SGD at rates that fall linearly to zero, images flipped and translated."""
    batches = FlippedAndTranslated(images, labels, recipe.batch_size, recipe.translation, seed)

    def falling(rate: float, epochs: int) -> keras.optimizers.schedules.PolynomialDecay:
        return keras.optimizers.schedules.PolynomialDecay(rate, epochs * len(batches), 0.0)

    # The paper's rates are for the sum of a batch's losses, the loop's gradients for their mean.
    bias = recipe.bias_learning_rate * recipe.batch_size
    head = recipe.head_learning_rate * recipe.batch_size
    optimizer = Muon(
        falling(recipe.learning_rate, recipe.epochs),
        recipe.momentum,
        recipe.newton_schulz_steps,
        {
            "whitening/bias": falling(bias, recipe.whitening_epochs),
            "logits/kernel": falling(head, recipe.epochs),
            "/beta": falling(bias, recipe.epochs),
        },
        recipe.sgd_momentum,
        recipe.weight_decay * recipe.batch_size,
    )
    model = airbench.build(
        recipe.widths,
        recipe.batch_norm_momentum,
        recipe.batch_norm_epsilon,
        np.asarray(images[: recipe.whitening_images]),
        recipe.whitening_epsilon,
        stream(seed, "weights"),
    )
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=recipe.label_smoothing)
    return Training(model, optimizer, loss, batches)
