"""Temperature scaling: confidences that agree with the accuracy on the validation images.

Guo et al., "On Calibration of Modern Neural Networks", 2017, arXiv 1706.04599.
"""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from pipeline.common.shell import UserError
from pipeline.evaluation.predictions import class_probabilities, logits_of

import keras

BATCH_SIZE = 500
# A few validation images that are all right or all wrong would ask for 0 or infinity.
LOWEST, HIGHEST = 0.05, 20.0


def head_of(model: keras.Model) -> keras.layers.Dense:
    """Return the layer that computes the logits.

    Raises:
        UserError: the last layer with weights is no Dense layer.
    """
    *_, head = (layer for layer in model.layers if layer.weights)
    if not isinstance(head, keras.layers.Dense):
        raise UserError(
            f"params.yaml: temperature_scaling = True: network {model.name} does not end with a "
            "Dense layer; allowed is False"
        )
    return head


def best_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature by which the logits are divided at the smallest cross-entropy.

    Args:
        logits: float (n, classes), n at least 1; any number may be added to those of an image.
        labels: integers (n,).

    Returns:
        a number from LOWEST to HIGHEST.
    """

    def cross_entropy(log_temperature: float) -> float:
        scaled = log_softmax(logits / np.exp(log_temperature), axis=1)
        return -float(scaled[np.arange(len(labels)), labels].mean())

    bounds = np.log([LOWEST, HIGHEST])
    return float(np.exp(minimize_scalar(cross_entropy, bounds=bounds).x))


def calibrate(model: keras.Model, images: np.ndarray, labels: np.ndarray) -> float:
    """Divide the weights of a model's head, and so its logits, by the best temperature; return it.

    Which class is the likeliest does not change.

    Args:
        model: from images to probabilities, its logits made by a Dense layer.
        images: for validation, float32 (n, side, side, 3) in [0, 1], n at least 1.
        labels: their classes, integers (n,).
    """
    probabilities = class_probabilities(model, images, BATCH_SIZE, "temperature")
    temperature = best_temperature(logits_of(probabilities.astype(np.float64)), labels)
    head = head_of(model)
    head.set_weights([weight / np.float32(temperature) for weight in head.get_weights()])
    return temperature
