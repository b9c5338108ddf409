"""A small data set with other classes and another side than CIFAR-10, for evaluate and plots."""

import json
from pathlib import Path

import numpy as np

from pipeline.common.paths import DATASET
from pipeline.data.arrays import save
from tests.project import Params, default_params, write_params

CLASSES = ("$z^$ebra", "gnu", "emu")
SIDE = 8
RECIPE = {
    "network": {"name": "resnet"},
    "optimizer": {"name": "sgd"},
    "schedule": {"name": "constant"},
    "batch_size": 10,
    "epochs": 1,
}


def small_project(**plots: int) -> Params:
    """Write dataset.json, arrays and params.yaml in the current folder; return the parameters."""
    params = default_params() | {"device": "cpu", "recipe": "own", "recipes": {"own": RECIPE}}
    params["evaluate"] = {
        "batch_size": 7,
        "test_time_augmentation": "flip_translate",
        "calibration_bins": 4,
        "corruptions": ["jpeg_50", "noise_20"],
        "corruption_size": 25,
    }
    Path("metrics").mkdir()
    training = {"epochs": 1, "images": 1001, "validation_images": 0, "parameters": 579}
    trained = {"training": [training], "environment": [{"device": "CPU"}]}
    Path("metrics/train.json").write_text(json.dumps(trained))
    params["plots"] = {"columns": 4, "rows": 2, "dpi": 60} | plots
    write_params(Path(), params)
    DATASET.parent.mkdir(parents=True)
    DATASET.write_text(json.dumps({"classes": CLASSES, "side": SIDE}))
    generator = np.random.default_rng(0)
    for split, count in (("train", 1001), ("test", 40)):
        images = generator.integers(0, 256, (count, SIDE, SIDE, 3), np.uint8)
        save(split, images, generator.integers(0, 3, count, np.uint8))
    return params
