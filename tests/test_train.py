"""What the stage train writes."""

import csv
import json
import os
from pathlib import Path

import pytest

from tests.project import (
    default_params,
)

import tensorflow as tf


def test_what_train_writes(trained: Path) -> None:
    with (trained / "plots/history.csv").open() as file:
        history = list(csv.DictReader(file))
    columns = ["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "recipe"]
    assert list(history[0]) == columns
    assert [row["epoch"] for row in history] == ["1", "2"]
    rate = default_params()["recipes"]["airbench_small"]["optimizer"]["kernel_learning_rate"]
    assert [float(row["learning_rate"]) for row in history] == pytest.approx([rate, rate / 2])
    metrics = json.loads((trained / "metrics/train.json").read_text())
    assert metrics["val_accuracy"] == float(history[-1]["val_accuracy"])
    assert "epochs_left" not in metrics
    assert metrics["training"][0]["images"] == 400
    (environment,) = metrics["environment"]
    assert environment["tensorflow"] == tf.__version__
    assert environment["threads"] == len(os.sched_getaffinity(0))
    assert not list(trained.rglob(".unfinished-*"))
