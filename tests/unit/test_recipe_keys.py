"""No key of a recipe is without effect."""

from collections.abc import Callable, Iterator
from functools import cache
from itertools import islice

import numpy as np
import pytest

from stages import device as device  # First, since TensorFlow reads what it sets.
from stages.train.averages import average
from stages.train.history import has_stalled
from stages.train.params import Recipe
from tests.project import default_params
from tests.unit.other_values import NAMES, keys_of, with_another
from tests.unit.picked import epoch_of
from tests.unit.tiny_recipes import IMAGES, assembled, tiny

import tensorflow as tf  # isort: skip

Observation = list[np.ndarray]
# The name of the part, if any, and the dotted key.
Key = tuple[str, str]

# What other keys' values would hide: of an image that does not move, no border is to be seen.
EFFECTIVE = {
    "augmentation": {
        "translation": 2,
        "cutout": 4,
        "brightness": 0.1,
        "contrast": 0.1,
        "noise": 0.1,
        "jpeg": 0.5,
    },
    "ema_momentum": 0.5,
    "hardest_share": 0.5,
    "proxy_width": 1.0,
    "patience": 3,
}
CHANGED = {
    # So that any network can take the place of this one.
    "augmentation": {"low_resolution_share": 0.0},
    # Of the first two steps, too, the second is after a milestone.
    "schedule": {"milestones": [0.25, 0.75]},
}
RECIPES = {
    "airbench_small": tiny("airbench_small", **EFFECTIVE),
    "tutorial": tiny("tutorial"),
    "resnet20": tiny("resnet20", **CHANGED),
    "adam": tiny("tutorial", optimizer={"name": "adam"}, schedule={"name": "cosine"}),
    "adamw": tiny("tutorial", optimizer={"name": "adamw"}),
}


def part_of(recipe: Recipe, key: str) -> str:
    """Return the name of the part that a dotted key belongs to."""
    kind, _, _ = key.rpartition(".")
    return getattr(getattr(recipe, kind), "name", "") if kind else ""


# What has its effect after the training: tests/unit/test_temperature.py.
AFTERWARDS = {("", "temperature_scaling")}
# By part and key, since recipes of one part differ in nothing but values.
KEYS: dict[Key, str] = {}
for name, recipe in RECIPES.items():
    for key in keys_of(recipe):
        KEYS.setdefault((part_of(recipe, key), key), name)


def observed(recipe: Recipe, seed: int = 0) -> Iterator[Observation]:
    """Return what a training does, one thing after the other, the cheapest first."""
    training = assembled(recipe, seed)
    yield [
        np.array([*phase.epochs, phase.model.input_shape[1], len(phase.variables)])
        for phase in training.phases
    ]
    yield training.model.get_weights()
    rows = [{"epoch": epoch, "val_accuracy": 0.5} for epoch in range(1, 10)]
    stalled = [has_stalled(rows[:epochs], training.patience) for epochs in range(10)]
    yield [np.array([*stalled, training.kept is training.best])]
    yield [
        array
        for phase in training.phases
        for epoch in phase.epochs
        for batch in epoch_of(phase.batches, epoch)
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
    if training.averaged:
        average(training.averaged, training.model, training.ema_momentum, tf.constant(1000))
        yield training.averaged.get_weights()
    answers = training.model(IMAGES[:2], training=True).numpy()
    yield [answers, *(variable.numpy() for variable in training.state)]


def same(one: Observation, other: Observation) -> bool:
    return len(one) == len(other) and all(
        a.shape == b.shape and np.allclose(a, b, rtol=1e-5, atol=1e-7)
        for a, b in zip(one, other, strict=True)
    )


class Unchanged:
    """What the training of a recipe as it is does, trained no further than is asked for."""

    def __init__(self, name: str):
        """Take the name."""
        self.coming = observed(RECIPES[name])
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


@pytest.mark.slow
@pytest.mark.parametrize(
    "key", sorted(KEYS.keys() - AFTERWARDS), ids=lambda key: " ".join(filter(None, key))
)
def test_each_key_changes_the_training(unchanged: Callable[[str], Unchanged], key: Key) -> None:
    name = KEYS[key]
    changed = observed(with_another(RECIPES[name], key[-1]))
    assert not all(map(same, unchanged(name), changed))


def test_every_key_of_params_yaml_is_tried() -> None:
    """And each part is one of a recipe there or here."""
    written = set()
    for recipe in default_params()["recipes"].values():
        for key, value in recipe.items():
            part = value.get("name", "") if isinstance(value, dict) else ""
            names = [f"{key}.{name}" for name in value] if isinstance(value, dict) else [key]
            written |= {(part, name) for name in names}
    assert written <= set(KEYS)
    for kind, names in NAMES.items():
        assert {(name, f"{kind}.name") for name in names} <= set(KEYS)


@pytest.mark.parametrize("name", ["tutorial", "airbench_small", "resnet20"])
def test_the_seed_alone_changes_the_training(
    unchanged: Callable[[str], Unchanged], name: str
) -> None:
    again, other = observed(RECIPES[name]), observed(RECIPES[name], seed=1)
    assert all(map(same, unchanged(name), again))
    assert not all(map(same, islice(unchanged(name), 4), other))
