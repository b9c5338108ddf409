"""The learning rate at each step of a training, by formulas in NumPy."""

import math
from typing import Any

import numpy as np
import pytest

from stages import device as device  # First, since TensorFlow reads what it sets.
from stages.train.params import Recipe
from stages.train.schedules import Constant, Cosine, Linear, ScheduleSection, Step
from tests.unit.tiny_recipes import assembled, tiny

import keras  # isort: skip
import tensorflow as tf  # isort: skip

PEAK, EPOCHS, STEPS = 0.3, 5, 7
TOTAL = EPOCHS * STEPS
KINDS: dict[str, type[ScheduleSection]] = {
    "constant": Constant,
    "linear": Linear,
    "cosine": Cosine,
    "step": Step,
}
SCHEDULES: list[dict[str, Any]] = [
    {"name": "constant"},
    {"name": "linear"},
    {"name": "linear", "final_share": 0.2},
    {"name": "cosine"},
    {"name": "cosine", "final_share": 0.1},
    {"name": "step"},
    # 0.01 of 35 is 0 steps, and 0.48 and 0.49 are 17 both.
    {"name": "step", "milestones": [0.01, 0.48, 0.49, 0.9], "factor": 0.5},
    {"name": "step", "milestones": [0.99]},
]


def expected_rate(step: int, settings: dict[str, Any], warmup: int) -> float:
    """Return the rate of a step, counted from 0, by the schedule's formula."""
    if step < warmup:
        return PEAK * (step + 1) / warmup
    done = min(1, (step - warmup) / (TOTAL - warmup))
    last = settings.get("final_share", 0.0)
    if settings["name"] == "linear":
        return PEAK * (1 - done * (1 - last))
    if settings["name"] == "cosine":
        return PEAK * (last + (1 - last) * (1 + math.cos(math.pi * done)) / 2)
    if settings["name"] == "step":
        milestones = settings.get("milestones", [0.5, 0.75])
        drops = sum(step >= round(share * TOTAL) for share in milestones)
        return PEAK * settings.get("factor", 0.1) ** drops
    return PEAK


@pytest.mark.parametrize("warmup_epochs", [0, 1, 3])
@pytest.mark.parametrize(
    "settings", SCHEDULES, ids=lambda settings: " ".join(map(str, settings.values()))
)
def test_each_step_has_the_rate_of_the_formula(
    settings: dict[str, Any], warmup_epochs: int
) -> None:
    """By how far gradient descent goes, also beyond the end."""
    section = KINDS[settings["name"]](warmup_epochs=warmup_epochs, **settings)
    optimizer = keras.optimizers.SGD(section.build(PEAK, EPOCHS, STEPS))
    variable = keras.Variable(0.0)
    for step in range(TOTAL + 3):
        variable.assign(0.0)
        expected = expected_rate(step, settings, warmup_epochs * STEPS)
        # What the history shows, and what a step takes.
        assert float(optimizer.learning_rate) == pytest.approx(expected, 1e-5, 1e-7)
        optimizer.apply([tf.constant(-1.0)], [variable])
        assert float(variable.numpy()) == pytest.approx(expected, 1e-5, 1e-7)


def test_a_warmup_of_the_whole_training_ends_at_the_peak() -> None:
    """As for variables that learn in the first epochs only."""
    schedule = Linear(name="linear", warmup_epochs=2).build(PEAK, 2, 3)
    rates = [float(schedule(tf.constant(step))) for step in range(7)]
    np.testing.assert_allclose(rates, [PEAK * n / 6 for n in range(1, 7)] + [PEAK], rtol=1e-6)
    longer = Linear(name="linear", warmup_epochs=2).build(PEAK, 1, 3)
    assert [float(longer(tf.constant(step))) for step in range(6)] == pytest.approx(rates[:6])


def rates_of(recipe: Recipe) -> list[float]:
    """Return the rate of each step of a training, and of the one after."""
    optimizer = assembled(recipe).optimizer
    rates = []
    for step in range(recipe.epochs * 2 + 1):
        optimizer.iterations.assign(step)
        rates.append(float(optimizer.learning_rate))
    return rates


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ({"name": "constant"}, [1, 1, 1, 1, 1, 1, 1, 1, 1]),
        ({"name": "linear"}, [1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8, 0]),
        ({"name": "step", "factor": 0.5}, [1, 1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.25]),
        (
            {"name": "linear", "final_share": 0.5, "warmup_epochs": 1},
            [1 / 2, 1, 1, 11 / 12, 10 / 12, 9 / 12, 8 / 12, 7 / 12, 0.5],
        ),
    ],
)
def test_a_recipes_schedule_goes_from_its_rate_over_its_epochs(
    schedule: dict[str, Any], expected: list[float]
) -> None:
    """Four epochs of two steps."""
    recipe = tiny("tutorial", epochs=4, optimizer={"learning_rate": 0.4}, schedule=schedule)
    np.testing.assert_allclose(rates_of(recipe), 0.4 * np.array(expected), rtol=1e-5, atol=1e-7)
