"""Muon on each network: which variables it takes steps of, by formulas in NumPy."""

import numpy as np
import pytest

from stages import device as device  # First, since TensorFlow reads what it sets.
from tests.unit.tiny_recipes import assembled, gradients, stepped, tiny

import tensorflow as tf  # isort: skip


def newton_schulz(matrix: np.ndarray, steps: int) -> np.ndarray:
    """Apply the published polynomial to the singular values, which leaves their vectors alone."""
    u, values, v = np.linalg.svd(matrix, full_matrices=False)
    values /= np.sqrt(np.sum(values**2))
    for _ in range(steps):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    return (u * values) @ v


# By the ends of their paths, the variables that SGD takes steps of: their first rate, for the sum
# of the losses of 3 images, and the steps until it is zero. 5 images in batches of 3 are two steps
# an epoch. Last, how many kernels are left to Muon.
OFFSETS = {"/bias": (0.15, 6), "/gamma": (0.15, 6), "/beta": (0.15, 6)}
BY_SGD: dict[str, tuple[dict[str, tuple[float, int]], int]] = {
    "airbench_small": (
        {"whitening/bias": (0.15, 4), "logits/kernel": (0.06, 6), "/beta": (0.15, 6)},
        6,
    ),
    # Three convolutions and the hidden dense layer.
    "tutorial": ({"Dense01/kernel": (0.06, 6)} | OFFSETS, 4),
    "resnet20": ({"logits/kernel": (0.06, 6)} | OFFSETS, 7),
}


@pytest.mark.parametrize("clipnorm", [None, 2.0])
@pytest.mark.parametrize("name", BY_SGD)
def test_networks_take_steps_of_muon_and_sgd_at_falling_rates(
    name: str, clipnorm: float | None
) -> None:
    """Every variable at every step, and at one beyond the last, where the rates are zero."""
    rates, kernels = BY_SGD[name]
    settings = {
        "name": "muon",
        "kernel_learning_rate": 0.3,
        "kernel_momentum": 0.6,
        "newton_schulz_steps": 2,
        "bias_learning_rate": 0.05,
        "head_learning_rate": 0.02,
        "sgd_momentum": 0.8,
        "sgd_weight_decay": 0.01,
        "global_clipnorm": clipnorm,
    }
    network = {"whitening_epochs": 2} if name == "airbench_small" else {}
    linear = {"name": "linear"}
    recipe = tiny(name, network=network, optimizer=settings, schedule=linear, epochs=3)
    training = assembled(recipe)
    variables = training.model.trainable_variables
    expected = [variable.numpy() for variable in variables]
    velocities = [np.zeros_like(start) for start in expected]
    by_muon = 0
    for step in range(7):
        of_step = gradients(training, step)
        found = stepped(training, of_step)
        norm = np.sqrt(sum((gradient**2).sum() for gradient in of_step))
        assert norm > 2
        scale = clipnorm / norm if clipnorm else 1
        for index, (variable, gradient) in enumerate(zip(variables, of_step, strict=True)):
            before, gradient = expected[index], scale * gradient
            own = [rates[end] for end in rates if variable.path.endswith(end)]
            if own:
                ((first, steps),) = own
                rate = first * max(0, 1 - step / steps)
                # The decay of 0.01 for each of 3 images, as the rate falls.
                gradient = gradient + 0.03 / first * before
                velocities[index] = 0.8 * velocities[index] + gradient
                expected[index] = before - rate * (gradient + 0.8 * velocities[index])
            else:
                by_muon += 1
                filters = variable.shape[-1]
                velocities[index] = 0.6 * velocities[index] + gradient
                matrix = (gradient + 0.6 * velocities[index]).reshape(-1, filters)
                update = newton_schulz(matrix, 2).reshape(before.shape)
                scaled = before / np.linalg.norm(before) * np.sqrt(filters)
                expected[index] = scaled - 0.3 * max(0, 1 - step / 6) * update
            np.testing.assert_allclose(
                found[index], expected[index], rtol=1e-4, atol=1e-5, err_msg=variable.path
            )
    assert by_muon == 7 * kernels


@pytest.mark.parametrize("whitening_epochs", [0, 1, 3])
def test_first_layers_bias_learns_for_its_epochs(whitening_epochs: int) -> None:
    """Two steps each, at 0.05 for each of 3 images, falling to zero."""
    rates = {"bias_learning_rate": 0.05, "sgd_momentum": 0.0, "sgd_weight_decay": 0.0}
    network = {"whitening_epochs": whitening_epochs}
    recipe = tiny("airbench_small", network=network, optimizer=rates, epochs=4)
    training = assembled(recipe)
    bias = training.model.get_layer("whitening").bias
    expected = 0.0
    for phase in training.phases:
        for epoch in phase.epochs:
            for step in (2 * epoch, 2 * epoch + 1):
                if any(variable is bias for variable in phase.variables):
                    training.optimizer.apply([tf.ones(24)], [bias])
                    expected -= 0.15 * (1 - step / (2 * whitening_epochs))
                np.testing.assert_allclose(bias.numpy(), np.full(24, expected), rtol=1e-5)
    assert expected == pytest.approx([0, -0.225, 0, -0.525][whitening_epochs])
