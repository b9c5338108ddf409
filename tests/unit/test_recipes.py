"""What holds for every recipe: any part goes with any other."""

from itertools import cycle
from typing import Any

import numpy as np
import pytest

from pipeline import networks
from pipeline.common.config import Recipe, part_classes
from stages.train import train

CLASSES, SIDE = 10, 12
GENERATOR = np.random.default_rng(0)
TRAINING = GENERATOR.random((6, SIDE, SIDE, 3), np.float32), np.array([3, 1, 4, 1, 5, 9], np.uint8)
VALIDATION = GENERATOR.random((8, SIDE, SIDE, 3), np.float32), np.arange(8, dtype=np.uint8)
# Each part is in one of these; all pairs would take a minute and more.
NETWORKS, OPTIMIZERS, SCHEDULES = map(part_classes, ("network", "optimizer", "schedule"))
COMBINATIONS = [*zip(cycle(NETWORKS), OPTIMIZERS, cycle(SCHEDULES), strict=False)]


@pytest.mark.usefixtures("without_graphs")
@pytest.mark.parametrize(("network", "optimizer", "schedule"), COMBINATIONS)
def test_each_part_learns_with_others(network: str, optimizer: str, schedule: str) -> None:
    """Every variable stays finite, and most of them move in the second epoch, too."""
    wide: Any = part_classes("network")[network].model_validate({"name": network})
    parts = {
        "network": networks.narrowed(wide, 0.1).model_dump(),
        "optimizer": {"name": optimizer, "weight_decay": 0.01, "global_clipnorm": 1.0},
        "schedule": {"name": schedule},
        "augmentation": {"flip": "random", "translation": 2, "noise": 0.1},
        "batch_size": 6,
        "epochs": 2,
    }
    weights = [
        {variable.path: variable.numpy() for variable in model.trainable_variables}
        for _, model in train(Recipe.model_validate(parts), TRAINING, VALIDATION, CLASSES, 0, False)
    ]
    first, second = weights
    assert all(np.isfinite(weight).all() for weight in second.values())
    assert np.mean([(first[path] != second[path]).any() for path in first]) > 0.8
