"""Puts the parts of a recipe together: network, optimizer, loss and the phases of the training."""

import math
from dataclasses import dataclass

import keras
import numpy as np

from stages.models.stock_layers import with_stock_layers
from stages.train import replicas
from stages.train.params import Recipe
from stages.train.phases import Phase, phases_of
from stages.train.randomness import stream
from stages.train.selection import Proxy, picked_images
from stages.train.temperature import head_of


@dataclass(frozen=True)
class Training:
    """What the training loop works on; the networks of its phases share their weights.

    `averaged` holds moving averages of the weights, `best` the weights of the best epoch so far,
    `proxy` picks the images; None where the recipe asks for none of them.
    """

    model: keras.Model
    optimizer: keras.optimizers.Optimizer
    loss: keras.losses.CategoricalCrossentropy
    phases: list[Phase]
    patience: int = 0
    ema_momentum: float = 0.0
    averaged: keras.Model | None = None
    best: keras.Model | None = None
    proxy: Proxy | None = None

    def __post_init__(self) -> None:
        """Make the optimizer's variables, which belong to the state of the training."""
        self.optimizer.build(self.model.trainable_variables)
        if self.proxy:
            self.proxy.optimizer.build(self.proxy.model.trainable_variables)

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
            *(self.proxy.model.variables if self.proxy else ()),
            *(self.proxy.optimizer.variables if self.proxy else ()),
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
    steps = math.ceil(len(labels) / recipe.batch_size)

    def rate(peak: float, path: str = "") -> keras.optimizers.schedules.LearningRateSchedule:
        epochs = network.training_epochs(path, recipe.epochs)
        return recipe.schedule.build(peak, max(1, epochs), steps)

    def optimizer_of(model: keras.Model) -> keras.optimizers.Optimizer:
        size = picked_images(recipe.batch_size, recipe.hardest_share)
        optimizer = recipe.optimizer.build(rate, model.trainable_variables, size)
        if optimizer.global_clipnorm:
            optimizer.global_clipnorm /= replicas.count()
        return optimizer

    optimizer = optimizer_of(model)
    proxy = None
    if recipe.hardest_share < 1:
        small = network.narrowed(recipe.proxy_width).build(images, stream(seed, "proxy"), on_cpu)
        replicas.synchronize(small)
        proxy = Proxy(small, small.trainable_variables, optimizer_of(small), recipe.hardest_share)
    return Training(
        model,
        optimizer,
        keras.losses.CategoricalCrossentropy(label_smoothing=recipe.label_smoothing),
        phases_of(recipe, model, images, labels, seed, proxy),
        recipe.patience,
        recipe.ema_momentum,
        with_stock_layers(model) if recipe.ema_momentum else None,
        with_stock_layers(model) if recipe.keep == "best" else None,
        proxy,
    )
