"""Puts the parts of a recipe together: network, optimizer, loss and what each epoch trains on."""

from dataclasses import dataclass
from functools import cache
from itertools import groupby

import keras
import numpy as np

from stages.cifar10 import SIDE
from stages.models import airbench, tutorial
from stages.train.batches import FlippedAndTranslated, Shuffled, shrunk
from stages.train.muon import Muon
from stages.train.params import AirbenchRecipe, Recipe, TutorialRecipe
from stages.train.randomness import stream


@dataclass(frozen=True)
class Phase:
    """Consecutive epochs that train the same variables on images of the same size."""

    epochs: range
    model: keras.Model
    variables: list[keras.Variable]
    batches: Shuffled


@dataclass(frozen=True)
class Training:
    """What the training loop works on; the networks of its phases share their weights."""

    model: keras.Model
    optimizer: keras.optimizers.Optimizer
    loss: keras.losses.CategoricalCrossentropy
    phases: list[Phase]

    def __post_init__(self) -> None:
        """Make the optimizer's variables, which belong to the state of the training."""
        self.optimizer.build(self.model.trainable_variables)

    @property
    def state(self) -> list[keras.Variable]:
        """Return every variable that a step changes: weights, statistics, seeds, optimizer."""
        return [*self.model.variables, *self.optimizer.variables]


def assemble(
    recipe: Recipe, images: np.ndarray, labels: np.ndarray, seed: int, on_cpu: bool
) -> Training:
    """Make what `recipe` names.

    Args:
        recipe: the checked parameters.
        images: training images, float32 (n, 32, 32, 3) in [0, 1].
        labels: their classes, uint8 (n,).
        seed: of every random stream.
        on_cpu: use the layers made for CPUs where the recipe's network has such.
    """
    if isinstance(recipe, TutorialRecipe):
        return assemble_tutorial(recipe, images, labels, seed)
    return assemble_airbench(recipe, images, labels, seed, on_cpu)


def assemble_tutorial(
    recipe: TutorialRecipe, images: np.ndarray, labels: np.ndarray, seed: int
) -> Training:
    """RMSprop at a constant rate, images as they are."""
    model = tutorial.build(recipe.filters, recipe.dense_units, recipe.dropout, recipe.dense_dropout)
    batches = Shuffled(images, labels, recipe.batch_size, seed)
    return Training(
        model,
        keras.optimizers.RMSprop(recipe.learning_rate, recipe.rho, recipe.momentum, recipe.epsilon),
        keras.losses.CategoricalCrossentropy(),
        [Phase(range(recipe.epochs), model, model.trainable_variables, batches)],
    )


def assemble_airbench(
    recipe: AirbenchRecipe, images: np.ndarray, labels: np.ndarray, seed: int, on_cpu: bool
) -> Training:
    """Muon and SGD at rates that fall linearly to zero, images flipped and translated."""
    model = airbench.build(
        recipe.widths,
        recipe.batch_norm_momentum,
        recipe.batch_norm_epsilon,
        np.asarray(images[: recipe.whitening_images]),
        recipe.whitening_epsilon,
        stream(seed, "weights"),
        on_cpu,
    )
    phases = airbench_phases(recipe, model, images, labels, seed)
    steps = len(phases[0].batches)

    def falling(rate: float, epochs: int) -> keras.optimizers.schedules.PolynomialDecay:
        return keras.optimizers.schedules.PolynomialDecay(rate, epochs * steps, 0.0)

    # The paper's rates are for the sum of a batch's losses, the loop's gradients for their mean.
    bias = recipe.bias_learning_rate * recipe.batch_size
    head = recipe.head_learning_rate * recipe.batch_size
    optimizer = Muon(
        falling(recipe.learning_rate, recipe.epochs),
        recipe.momentum,
        recipe.newton_schulz_steps,
        {
            "whitening/bias": falling(bias, max(1, recipe.whitening_epochs)),
            "logits/kernel": falling(head, recipe.epochs),
            "/beta": falling(bias, recipe.epochs),
        },
        recipe.sgd_momentum,
        recipe.weight_decay * recipe.batch_size,
    )
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=recipe.label_smoothing)
    return Training(model, optimizer, loss, phases)


def airbench_phases(
    recipe: AirbenchRecipe, model: keras.Model, images: np.ndarray, labels: np.ndarray, seed: int
) -> list[Phase]:
    """Shrink the images of the first epochs, and train the first layer's bias in some of them."""
    everything = model.trainable_variables
    without_bias = [v for v in everything if not v.path.endswith("whitening/bias")]

    # The finished network is for images at full resolution.
    low_epochs = min(round(recipe.low_resolution_share * recipe.epochs), recipe.epochs - 1)

    @cache
    def batches(side: int) -> FlippedAndTranslated:
        return FlippedAndTranslated(
            shrunk(images, side), labels, recipe.batch_size, recipe.translation, seed
        )

    phases = []
    for (is_low, trains_bias), epochs in groupby(
        range(recipe.epochs),
        lambda epoch: (epoch < low_epochs, epoch < recipe.whitening_epochs),
    ):
        first, *others = epochs
        side = recipe.low_resolution if is_low else SIDE
        phases.append(
            Phase(
                range(first, first + 1 + len(others)),
                airbench.at_side(model, side),
                everything if trains_bias else without_bias,
                batches(side),
            )
        )
    return phases
