"""Puts the parts of a recipe together: network, optimizer, loss and what each epoch trains on."""

from dataclasses import dataclass
from functools import cache
from itertools import groupby

import keras
import numpy as np

from stages.cifar10 import SIDE
from stages.models.stock_layers import with_stock_layers
from stages.train import replicas
from stages.train.batches import Batches
from stages.train.copies import with_copies
from stages.train.params import Recipe
from stages.train.pixels import shrunk
from stages.train.randomness import stream
from stages.train.temperature import head_of


@dataclass(frozen=True)
class Phase:
    """Consecutive epochs that train the same variables on images of the same size."""

    epochs: range
    model: keras.Model
    variables: list[keras.Variable]
    batches: Batches


@dataclass(frozen=True)
class Training:
    """What the training loop works on; the networks of its phases share their weights.

    `averaged` holds moving averages of the weights, `best` the weights of the best epoch so far;
    None where the recipe asks for neither.
    """

    model: keras.Model
    optimizer: keras.optimizers.Optimizer
    loss: keras.losses.CategoricalCrossentropy
    phases: list[Phase]
    patience: int = 0
    ema_momentum: float = 0.0
    averaged: keras.Model | None = None
    best: keras.Model | None = None

    def __post_init__(self) -> None:
        """Make the optimizer's variables, which belong to the state of the training."""
        self.optimizer.build(self.model.trainable_variables)

    @property
    def measured(self) -> keras.Model:
        """Return the network that is validated after each epoch."""
        return self.averaged or self.model

    @property
    def kept(self) -> keras.Model:
        """Return the network that the training leaves."""
        return self.best or self.measured

    @property
    def state(self) -> list[keras.Variable]:
        """Return every variable that an epoch changes: weights, statistics, seeds, optimizer."""
        copies = [copy for copy in (self.averaged, self.best) if copy]
        return [
            *self.model.variables,
            *self.optimizer.variables,
            *(variable for copy in copies for variable in copy.weights),
        ]


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

    Raises:
        InputError: the temperature of the network's answers cannot be scaled.
    """
    network = recipe.network
    model = network.build(images, stream(seed, "weights"), on_cpu)
    if recipe.temperature_scaling:
        head_of(model)
    replicas.synchronize(model)
    phases = phases_of(recipe, model, images, labels, seed)
    steps = len(phases[0].batches)

    def rate(peak: float, path: str = "") -> keras.optimizers.schedules.LearningRateSchedule:
        epochs = network.training_epochs(path, recipe.epochs)
        return recipe.schedule.build(peak, max(1, epochs), steps)

    optimizer = recipe.optimizer.build(rate, model.trainable_variables, recipe.batch_size)
    if optimizer.global_clipnorm:
        optimizer.global_clipnorm /= replicas.count()
    return Training(
        model,
        optimizer,
        keras.losses.CategoricalCrossentropy(label_smoothing=recipe.label_smoothing),
        phases,
        recipe.patience,
        recipe.ema_momentum,
        with_stock_layers(model) if recipe.ema_momentum else None,
        with_stock_layers(model) if recipe.keep == "best" else None,
    )


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
