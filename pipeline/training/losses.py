"""The loss: the cross-entropy, where it is asked for with a weight for each class."""

import numpy as np
from sklearn.utils.class_weight import compute_class_weight

from pipeline.common.config import Recipe

import keras
import tensorflow as tf


def build_loss(recipe: Recipe, labels: np.ndarray, classes: int) -> keras.losses.Loss:
    """Return the loss of a recipe, from one-hot labels and probabilities, both (n, classes).

    Args:
        recipe: its `label_smoothing` and `class_weights`.
        labels: of all training images, integers (n,).
        classes: how many there are.
    """
    if recipe.class_weights == "none":
        return keras.losses.CategoricalCrossentropy(label_smoothing=recipe.label_smoothing)
    # A class without an image is never weighted.
    weights = np.zeros(classes, np.float32)
    present = np.unique(labels)
    weights[present] = compute_class_weight("balanced", classes=present, y=labels)
    return WeightedCrossentropy(weights, recipe.label_smoothing)


class WeightedCrossentropy(keras.losses.CategoricalCrossentropy):
    """The cross-entropy of each image, times the weight of its class.

    Balanced weights are those of King & Zeng, "Logistic Regression in Rare Events Data", 2001, as
    in scikit-learn: in all, the images of each class weigh the same, and an image weighs 1 on
    average.
    """

    def __init__(self, weights: np.ndarray, label_smoothing: float):
        """Take the weights, float32 (classes,)."""
        super().__init__(label_smoothing=label_smoothing)
        self.weights = tf.constant(weights)

    def call(self, labels: tf.Tensor, probabilities: tf.Tensor) -> tf.Tensor:
        """Return the weighted loss of each image, float32 (n,)."""
        return super().call(labels, probabilities) * tf.linalg.matvec(labels, self.weights)
