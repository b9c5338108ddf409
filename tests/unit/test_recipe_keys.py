"""No key of a recipe is without effect."""

from collections.abc import Callable, Iterator
from functools import cache
from itertools import islice
from typing import Any

import numpy as np
import pytest

from stages import device as device  # First, since TensorFlow reads what it sets.
from stages.train.params import Recipe
from tests.unit.tiny_recipes import IMAGES, RECIPES_MADE_TINY, assembled, tiny

import tensorflow as tf  # isort: skip

Observation = list[np.ndarray]


def observed(recipe: Recipe, seed: int = 0) -> Iterator[Observation]:
    """Return what a training does, one thing after the other, the cheapest first."""
    training = assembled(recipe, seed)
    yield [
        np.array([*phase.epochs, phase.model.input_shape[1], len(phase.variables)])
        for phase in training.phases
    ]
    yield training.model.get_weights()
    yield [
        array
        for phase in training.phases
        for epoch in phase.epochs
        for batch in phase.batches.epoch(epoch)
        for array in batch
    ]
    generator = np.random.default_rng(0)
    labels, answers = np.eye(10)[:3], generator.dirichlet(np.ones(10), 3)
    yield [training.loss(labels, answers).numpy()]
    variables = training.model.trainable_variables
    for _ in range(2):
        gradients = [generator.normal(size=variable.shape) for variable in variables]
        training.optimizer.apply([tf.constant(g, tf.float32) for g in gradients], variables)
        yield [variable.numpy() for variable in variables]
    answers = training.model(IMAGES[:2], training=True).numpy()
    yield [answers, *(variable.numpy() for variable in training.state)]


def same(one: Observation, other: Observation) -> bool:
    return len(one) == len(other) and all(
        a.shape == b.shape and np.allclose(a, b, rtol=1e-5, atol=1e-7)
        for a, b in zip(one, other, strict=True)
    )


def another(value: Any) -> Any:
    """Return a value of the same type."""
    if isinstance(value, list):
        return [another(value[0]), *value[1:]]
    return value + 1 if isinstance(value, int) else value / 2 or 0.5


class Unchanged:
    """What the training of a recipe as it is does, trained no further than is asked for."""

    def __init__(self, name: str):
        """Take the recipe's name."""
        self.coming = observed(tiny(name))
        self.seen: list[Observation] = []

    def __iter__(self) -> Iterator[Observation]:
        """Yield what was seen before, then the rest."""
        yield from self.seen
        for observation in self.coming:
            self.seen.append(observation)
            yield observation


@pytest.fixture(scope="module")
def unchanged() -> Callable[[str], Unchanged]:
    """Return a function from a recipe's name to what its training does."""
    return cache(Unchanged)


# By model and key, since recipes of one model differ in nothing but values.
KEYS = {
    (recipe["model"], key): name
    for name, recipe in RECIPES_MADE_TINY.items()
    for key in recipe
    if key != "model"
}


@pytest.mark.parametrize(("model", "key"), KEYS)
def test_each_key_changes_the_training(
    unchanged: Callable[[str], Unchanged], model: str, key: str
) -> None:
    name = KEYS[model, key]
    value = RECIPES_MADE_TINY[name][key]
    changed = observed(tiny(name, **{key: another(value)}))
    assert not all(map(same, unchanged(name), changed))


@pytest.mark.parametrize("name", ["tutorial", "airbench_small"])
def test_the_seed_alone_changes_the_training(
    unchanged: Callable[[str], Unchanged], name: str
) -> None:
    again, other = observed(tiny(name)), observed(tiny(name), seed=1)
    assert all(map(same, islice(unchanged(name), 3), again))
    assert not all(map(same, islice(unchanged(name), 3), other))
