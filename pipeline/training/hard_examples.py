"""Trains on the hard images of each batch only: those on which a small network's loss is highest.

After airbench96_faster (https://github.com/KellerJordan/cifar10-airbench). There the small network
goes through all batches before the large one, and learns from every fourth; here the two take each
step together.
"""

import numpy as np

from pipeline import networks
from pipeline.common.config import Recipe
from pipeline.common.randomness import stream
from pipeline.training.optimizers import build_optimizer

import keras
import tensorflow as tf


class Proxy:
    """The small network: the recipe's own with fewer filters, and the recipe's optimizer."""

    def __init__(
        self, recipe: Recipe, images: np.ndarray, classes: int, seed: int, steps: int, on_cpu: bool
    ):
        """Build it; see `networks.build`. An epoch has so many steps."""
        params = networks.narrowed(recipe.network, recipe.proxy_width)
        self.recipe = recipe
        self.model = networks.build(params, images, classes, stream(seed, "proxy"), on_cpu)
        self.optimizer = build_optimizer(recipe, self.model.trainable_variables, steps)

    @property
    def variables(self) -> list[keras.Variable]:
        """Return all that its steps change."""
        return [*self.model.variables, *self.optimizer.variables]

    def train_on_hardest(
        self,
        images: tf.Tensor,
        labels: tf.Tensor,
        loss_of: keras.losses.Loss,
        frozen: tuple[str, ...],
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Take a step on the hardest images, and return these.

        Args:
            images: a batch, float32 (n, side, side, 3).
            labels: one-hot, float32 (n, classes).
            loss_of: the mean loss, of labels and probabilities.
            frozen: paths of the variables that stay as they are.

        Returns:
            The images with the highest losses, in the order of the batch, and their labels.
        """
        variables = [v for v in self.model.trainable_variables if v.path not in frozen]
        with tf.GradientTape() as tape:
            probabilities = self.model(images, training=True)
            losses = loss_of.call(labels, probabilities)
            count = self.recipe.hard_examples(len(labels))
            hardest = tf.sort(tf.math.top_k(losses, count, sorted=False).indices)
            loss = loss_of(tf.gather(labels, hardest), tf.gather(probabilities, hardest))
        self.optimizer.apply(tape.gradient(loss, variables), variables)
        return tf.gather(images, hardest), tf.gather(labels, hardest)
