"""Optimizers and schedules, by their formulas in NumPy."""

import math
from typing import Any

import numpy as np
import pytest

from pipeline.common import config
from pipeline.common.config import part_classes
from pipeline.training.optimizers import build_optimizer, build_schedule, orthogonalized
from tests.project import default_params

import keras
import tensorflow as tf

PEAK, EPOCHS, STEPS = 0.3, 5, 7
TOTAL = EPOCHS * STEPS
SCHEDULES: list[dict[str, Any]] = [
    {"name": "constant"},
    {"name": "linear", "final_fraction": 0.2},
    {"name": "cosine"},
    {"name": "cosine", "final_fraction": 0.1},
    {"name": "step"},
    # 0.01 of 35 is 0 steps, and 0.48 and 0.49 are 17 both.
    {"name": "step", "milestones": [0.01, 0.48, 0.49, 0.9], "factor": 0.5},
]


def expected_rate(step: int, schedule: dict[str, Any], warmup: int) -> float:
    """Return the rate of a step, counted from 0."""
    if step < warmup:
        return PEAK * (step + 1) / warmup
    done = min(1, (step - warmup) / (TOTAL - warmup))
    last = schedule.get("final_fraction", 0.0)
    match schedule["name"]:
        case "linear":
            return PEAK * (1 - done * (1 - last))
        case "cosine":
            return PEAK * (last + (1 - last) * (1 + math.cos(math.pi * done)) / 2)
        case "step":
            milestones = schedule.get("milestones", [0.5, 0.75])
            drops = sum(step >= round(fraction * TOTAL) for fraction in milestones)
            return PEAK * schedule.get("factor", 0.1) ** drops
    return PEAK


# The last one is longer than a variable may learn.
@pytest.mark.parametrize("warmup_epochs", [0, 1, 3, 6])
@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: " ".join(map(str, s.values())))
def test_each_step_has_the_rate_of_the_formula(
    schedule: dict[str, Any], warmup_epochs: int
) -> None:
    """By how far gradient descent goes, also beyond the end, and by what the history shows."""
    content = schedule | {"warmup_epochs": warmup_epochs}
    params: Any = part_classes("schedule")[schedule["name"]].model_validate(content)
    optimizer = keras.optimizers.SGD(build_schedule(params, PEAK, EPOCHS, STEPS))
    variable = keras.Variable(0.0)
    for step in range(TOTAL + 3):
        variable.assign(0.0)
        expected = expected_rate(step, schedule, warmup_epochs * STEPS)
        assert float(optimizer.learning_rate) == pytest.approx(expected, 1e-5, 1e-7)
        optimizer.apply([tf.constant(-1.0)], [variable])
        assert float(variable.numpy()) == pytest.approx(expected, 1e-5, 1e-7)


def recipe_of(optimizer: dict[str, Any], **changed: Any) -> config.Recipe:
    params = default_params()
    recipe = params["recipes"][params["recipe"]] | {"optimizer": optimizer}
    return config.Recipe.model_validate(recipe | changed)


@pytest.mark.parametrize("name", [name for name in part_classes("optimizer") if name != "muon"])
@pytest.mark.parametrize("is_given", [True, False])
def test_every_key_reaches_keras_or_has_its_default(name: str, is_given: bool) -> None:
    fields = part_classes("optimizer")[name].model_fields.items()
    given: dict[str, Any] = {
        key: True if isinstance(field.default, bool) else 0.25
        for key, field in fields
        if key != "name" and is_given
    }
    variables = [keras.Variable(np.ones((2, 3)))]
    optimizer = build_optimizer(recipe_of({"name": name} | given), variables, STEPS)
    assert type(optimizer).__module__.startswith("keras.")
    assert type(optimizer).__name__.lower() == name
    # Keras numbers the names, and of the learning rate it keeps the schedule.
    expected = given or type(optimizer)().get_config() | {"name": optimizer.name}
    assert float(optimizer.learning_rate) == pytest.approx(expected.pop("learning_rate"))
    assert optimizer.get_config().items() >= expected.items()


# --- Muon -----------------------------------------------------------------------------------------


def newton_schulz(matrix: np.ndarray, steps: int) -> np.ndarray:
    """Apply the published polynomial to the singular values, which leaves their vectors alone."""
    u, values, v = np.linalg.svd(matrix, full_matrices=False)
    values /= np.sqrt(np.sum(values**2))
    for _ in range(steps):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    return (u * values) @ v


def test_orthogonalized_damps_what_is_next_to_zero() -> None:
    """As published, 1e-7 is added to the norm, so that a norm of 1e-7 becomes a half."""
    found = orthogonalized(tf.constant([[1e-7]]), 1)
    np.testing.assert_allclose(found, [[3.4445 / 2 - 4.775 / 8 + 2.0315 / 32]], rtol=1e-5)
    np.testing.assert_array_equal(orthogonalized(tf.zeros((3, 4)), 3), np.zeros((3, 4)))


@pytest.mark.parametrize("clipnorm", [None, 2.0])
def test_kernels_take_steps_of_muon_and_the_rest_of_nesterov_sgd(clipnorm: float | None) -> None:
    """Every variable at every step, and at one beyond the last, where the rates are zero."""
    recipe = recipe_of(
        {
            "name": "muon",
            "kernel_learning_rate": 0.3,
            "kernel_momentum": 0.6,
            "newton_schulz_steps": 2,
            "bias_learning_rate": 0.05,
            "head_learning_rate": 0.02,
            "sgd_momentum": 0.8,
            "sgd_weight_decay": 0.01,
            "global_clipnorm": clipnorm,
        },
        schedule={"name": "linear"},
        network={"name": "airbench", "whitening_epochs": 2},
        batch_size=6,
        hard_example_fraction=0.5,
        epochs=3,
    )
    shapes = {
        "whitening/bias": (5,),
        "block/kernel": (3, 2, 5, 16),
        "block/beta": (16,),
        "wide/kernel": (4, 8),
        "square/kernel": (4, 4),
        "logits/kernel": (4, 3),
    }
    generator = np.random.default_rng(0)
    expected = {path: generator.normal(size=shape) for path, shape in shapes.items()}
    variables = [keras.Variable(start.astype(np.float32)) for start in expected.values()]
    for variable, path in zip(variables, shapes, strict=True):
        variable._path = path
    optimizer = build_optimizer(recipe, variables, steps=2)
    velocities = {path: np.zeros(shape) for path, shape in shapes.items()}
    # Of SGD: the first rate, for the sum of the losses of 3 images, and the steps until it is zero.
    sgd = {"whitening/bias": (0.15, 4), "block/beta": (0.15, 6), "logits/kernel": (0.06, 6)}
    for step in range(7):
        gradients = {path: generator.normal(size=shape) for path, shape in shapes.items()}
        optimizer.apply([tf.constant(g, tf.float32) for g in gradients.values()], variables)
        norm = np.sqrt(sum((gradient**2).sum() for gradient in gradients.values()))
        for variable, (path, gradient) in zip(variables, gradients.items(), strict=True):
            before, velocity = expected[path], velocities[path]
            gradient = gradient * min(1, (clipnorm or np.inf) / norm)
            if path in sgd:
                peak, steps = sgd[path]
                # The decay of 0.01 for each of 3 images falls with the rate.
                gradient = gradient + 0.03 / peak * before
                velocity = 0.8 * velocity + gradient
                step_taken = peak * max(0, 1 - step / steps) * (gradient + 0.8 * velocity)
                expected[path] = before - step_taken
            else:
                velocity = 0.6 * velocity + gradient
                filters = before.shape[-1]
                matrix = (gradient + 0.6 * velocity).reshape(-1, filters)
                update = newton_schulz(matrix, 2).reshape(before.shape)
                scaled = before / np.linalg.norm(before) * np.sqrt(filters)
                expected[path] = scaled - 0.3 * max(0, 1 - step / 6) * update
            velocities[path] = velocity
            np.testing.assert_allclose(variable.numpy(), expected[path], rtol=1e-4, atol=1e-5)
