"""Picks the images of each batch that are worth training on: those that a small network finds hard.

After airbench96_faster (https://github.com/KellerJordan/cifar10-airbench). There the small network
goes through all batches before the large one, and learns from every fourth; here the two take each
step together.
"""

from dataclasses import dataclass

import keras
import tensorflow as tf

from stages.cifar10 import CLASSES
from stages.train import replicas


@dataclass(frozen=True)
class Proxy:
    """The small network: which of its variables learn, by what, and the share that it picks."""

    model: keras.Model
    variables: list[keras.Variable]
    optimizer: keras.optimizers.Optimizer
    share: float

    def train_on_hardest(
        self, images: tf.Tensor, labels: tf.Tensor, size: int, loss: keras.losses.Loss
    ) -> tuple[tf.Tensor, tf.Tensor, float]:
        """Take a step on the images with the highest losses, and return these images.

        Args:
            images: a device's part of a batch, float32 (n, side, side, 3).
            labels: int64 (n,).
            size: images of the whole batch.
            loss: of which the mean is taken.

        Returns:
            The hardest images, in the order of the batch, their labels, and to how many images the
            whole batch shrinks when each part does like this one.
        """
        count = picked_images(len(labels), self.share)
        trained = size * count / len(labels)
        with tf.GradientTape() as tape:
            answers = self.model(images, training=True)
            losses = loss.call(tf.one_hot(labels, len(CLASSES)), answers)
            chosen = tf.sort(tf.math.top_k(losses, count, sorted=False).indices)
            labels = tf.gather(labels, chosen)
            mean = replicas.mean_loss(loss, labels, tf.gather(answers, chosen), trained)
        replicas.apply(self.optimizer, tape.gradient(mean, self.variables), self.variables)
        return tf.gather(images, chosen), labels, trained


def picked_images(images: int, share: float) -> int:
    """Return how many of so many images are picked, at least one."""
    return max(1, round(share * images))
