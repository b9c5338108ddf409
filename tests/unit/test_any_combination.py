"""Any network goes with any optimizer, schedule and augmentation but small images first."""

from itertools import cycle, product

import numpy as np
import pytest

from stages import device as device  # First, since TensorFlow reads what it sets.
from stages.train.params import KINDS, Recipe, parts_of
from tests.unit.picked import epoch_of
from tests.unit.tiny_recipes import LABELS, NETWORKS, assembled

import tensorflow as tf  # isort: skip

NETWORK_NAMES, OPTIMIZERS, SCHEDULES = ([*parts_of(kind)] for kind in KINDS)
AUGMENTATIONS: tuple[dict[str, object], ...] = (
    {"flip": "alternating", "translation": 2, "brightness": 0.2},
    {"flip": "random", "border": "zero", "translation": 4, "cutout": 8, "contrast": 0.5},
    {"cutout": 4},
)
# Each network meets every schedule and every augmentation.
COMBINATIONS = [
    (*pair, schedule, augmentation)
    for pair, schedule, augmentation in zip(
        product(NETWORK_NAMES, OPTIMIZERS), cycle(SCHEDULES), cycle(AUGMENTATIONS), strict=False
    )
]


@pytest.mark.slow
@pytest.mark.parametrize(("network", "optimizer", "schedule", "augmentation"), COMBINATIONS)
def test_every_variable_learns(
    network: str, optimizer: str, schedule: str, augmentation: dict[str, object]
) -> None:
    recipe = Recipe.model_validate(
        {
            "network": {"name": network, **NETWORKS.get(network, {})},
            "optimizer": {"name": optimizer, "global_clipnorm": 10.0},
            "schedule": {"name": schedule, "warmup_epochs": 1},
            "augmentation": augmentation,
            "label_smoothing": 0.1,
            "ema_momentum": 0.9,
            "keep": "best",
            "batch_size": len(LABELS),
            "epochs": 3,
        }
    )
    training = assembled(recipe)
    phase = training.phases[0]
    before = [variable.numpy() for variable in phase.variables]
    images, labels = next(epoch_of(phase.batches, 0))
    # Of no probabilities, so that no unit that happens to be off hides a variable.
    directions = tf.random.stateless_normal((len(labels), 10), (0, 0))
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(directions * phase.model(images, training=True))
    training.optimizer.apply(tape.gradient(value, phase.variables), phase.variables)
    for variable, old in zip(phase.variables, before, strict=True):
        assert np.isfinite(variable.numpy()).all(), variable.path
        assert (variable.numpy() != old).any(), variable.path
