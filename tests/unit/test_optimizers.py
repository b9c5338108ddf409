"""Steps of the optimizers that Keras has, by their published formulas in NumPy."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from stages import device as device  # First, since TensorFlow reads what it sets.
from stages.train.optimizers import SGD, Adam, AdamW, KerasOptimizer, RMSprop
from tests.unit.tiny_recipes import assembled, tiny

import keras  # isort: skip
import tensorflow as tf  # isort: skip

Numbers = np.ndarray
# From a variable, its gradient and the rate to the variable after the step.
Formula = Callable[[Numbers, Numbers, float], Numbers]
STEPS = 3


def rmsprop(rho: float = 0.9, momentum: float = 0.0, epsilon: float = 1e-7) -> Formula:
    """Return Hinton's method (Coursera 2012, lecture 6e), with momentum as in Graves 2013."""
    mean_square, velocity = np.array(0.0), np.array(0.0)

    def step(variable: Numbers, gradient: Numbers, rate: float) -> Numbers:
        nonlocal mean_square, velocity
        mean_square = rho * mean_square + (1 - rho) * gradient**2
        velocity = momentum * velocity + rate * gradient / np.sqrt(mean_square + epsilon)
        return variable - velocity

    return step


def sgd(momentum: float = 0.0, nesterov: bool = False) -> Formula:
    """Return gradient descent with the momentum of Sutskever et al. 2013."""
    velocity = np.array(0.0)

    def step(variable: Numbers, gradient: Numbers, rate: float) -> Numbers:
        nonlocal velocity
        velocity = momentum * velocity - rate * gradient
        return variable + (momentum * velocity - rate * gradient if nesterov else velocity)

    return step


def adam(beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-7) -> Formula:
    """Return the method of Kingma & Ba, arXiv 1412.6980, in the order of section 2's last lines."""
    mean, mean_square, steps = np.array(0.0), np.array(0.0), 0

    def step(variable: Numbers, gradient: Numbers, rate: float) -> Numbers:
        nonlocal mean, mean_square, steps
        steps += 1
        mean = beta_1 * mean + (1 - beta_1) * gradient
        mean_square = beta_2 * mean_square + (1 - beta_2) * gradient**2
        corrected = rate * np.sqrt(1 - beta_2**steps) / (1 - beta_1**steps)
        return variable - corrected * mean / (np.sqrt(mean_square) + epsilon)

    return step


SECTIONS: dict[str, tuple[type[KerasOptimizer], Callable[..., Formula]]] = {
    "rmsprop": (RMSprop, rmsprop),
    "sgd": (SGD, sgd),
    "adam": (Adam, adam),
    "adamw": (AdamW, adam),
}
# Every key of each, and what it is where it is left out.
OWN_KEYS: list[dict[str, Any]] = [
    {"name": "rmsprop"},
    {"name": "rmsprop", "rho": 0.7, "epsilon": 0.05},
    {"name": "rmsprop", "rho": 0.7, "momentum": 0.3, "epsilon": 0.05},
    {"name": "sgd"},
    {"name": "sgd", "momentum": 0.8},
    {"name": "sgd", "momentum": 0.8, "nesterov": True},
    {"name": "adam"},
    {"name": "adam", "beta_1": 0.6, "beta_2": 0.7, "epsilon": 0.05},
    {"name": "adamw"},
    {"name": "adamw", "beta_1": 0.6, "beta_2": 0.7, "epsilon": 0.05},
]
SHARED_KEYS: list[dict[str, Any]] = [
    {},
    {"weight_decay": None, "global_clipnorm": None},
    {"weight_decay": 0.0, "learning_rate": 0.2},
    {"weight_decay": 0.3},
    # Below the norm of the gradients, and above.
    {"global_clipnorm": 0.5, "weight_decay": 0.1},
    {"global_clipnorm": 50.0},
]


def falling(peak: float, path: str = "") -> keras.optimizers.schedules.LearningRateSchedule:
    return keras.optimizers.schedules.PolynomialDecay(peak, 2 * STEPS, 0.0)


def named(settings: dict[str, Any]) -> str:
    return " ".join(str(value) for value in settings.values()) or "defaults"


@pytest.mark.parametrize("shared", SHARED_KEYS, ids=named)
@pytest.mark.parametrize("own", OWN_KEYS, ids=named)
def test_steps_are_those_of_the_published_formula(
    own: dict[str, Any], shared: dict[str, Any]
) -> None:
    """Of a kernel and a bias, at a rate that falls.

    Decay is decoupled from the gradient: Loshchilov & Hutter, arXiv 1711.05101. A clipped norm is
    that of both gradients together.
    """
    kind, formula = SECTIONS[own["name"]]
    generator = np.random.default_rng(0)
    expected = [generator.normal(size=(2, 3)), generator.normal(size=3)]
    variables = [keras.Variable(start.astype(np.float32)) for start in expected]
    optimizer = kind.model_validate(own | shared).build(falling, variables, 7)

    peak = shared.get("learning_rate", 0.01 if own["name"] == "sgd" else 0.001)
    decay = shared.get("weight_decay")
    if decay is None:
        decay = 0.004 if own["name"] == "adamw" else 0
    most = shared.get("global_clipnorm") or np.inf
    formulas = [formula(**{k: v for k, v in own.items() if k != "name"}) for _ in variables]
    for step in range(STEPS):
        rate = peak * (1 - step / (2 * STEPS))
        gradients = [generator.normal(size=variable.shape) for variable in variables]
        norm = np.sqrt(sum((gradient**2).sum() for gradient in gradients))
        assert 0.5 < norm < 50
        optimizer.apply([tf.constant(g, tf.float32) for g in gradients], variables)
        for index, gradient in enumerate(gradients):
            before = expected[index]
            stepped = formulas[index](before, gradient * min(1, most / norm), rate)
            expected[index] = stepped - rate * decay * before
            close = {"rtol": 1e-6, "atol": 1e-4 * peak + 2e-7}
            np.testing.assert_allclose(variables[index].numpy(), expected[index], **close)


@pytest.mark.parametrize("own", OWN_KEYS, ids=named)
def test_a_recipes_optimizer_is_of_its_numbers(own: dict[str, Any]) -> None:
    """Keras itself shows them."""
    shared = {"learning_rate": 0.2, "weight_decay": 0.25, "global_clipnorm": 3.0}
    optimizer = assembled(tiny("tutorial", optimizer=own | shared)).optimizer
    expected = own | shared
    assert type(optimizer).__name__.lower() == expected.pop("name")
    assert float(optimizer.learning_rate) == pytest.approx(expected.pop("learning_rate"))
    found = optimizer.get_config()
    assert {key: found[key] for key in expected} == expected
