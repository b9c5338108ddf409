"""Measures the trained model on the test images."""

import json
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import log_loss, precision_recall_fscore_support

from pipeline.common import device
from pipeline.common.params import read_params
from pipeline.common.paths import (
    CALIBRATION,
    CORRUPTIONS,
    EVALUATE_METRICS,
    MODEL,
    MODEL_CARD,
    PREDICTIONS,
)
from pipeline.common.shell import UserError, run_stage, write_atomically
from pipeline.data.arrays import LISTED_CLASSES, load, read_dataset
from pipeline.data.corruptions import corrupted
from pipeline.evaluation.card import model_card
from pipeline.evaluation.metrics import (
    accuracy_with_interval,
    calibration_table,
    expected_calibration_error,
    rounded,
)
from pipeline.evaluation.predictions import (
    check_probabilities,
    class_probabilities,
    load_model,
    predict,
)
from pipeline.layers.stock import with_fast_layers

import tensorflow as tf


def main() -> None:
    params = read_params()
    dataset = read_dataset()
    images, labels = load("test")
    settings = params.evaluate
    augmentation, batch_size = settings.test_time_augmentation, settings.batch_size
    spec = device.use(params.device)
    with (
        tf.device(spec.to_string()),
        device.enough_memory(f"evaluate.batch_size = {batch_size}", "a smaller one"),
    ):
        model, trained_on = load_model(MODEL)
        if trained_on != dataset:
            raise UserError(f"{MODEL}: is for {trained_on}; data/processed has {dataset}")
        if spec.device_type == "CPU":
            model = with_fast_layers(model)
        probabilities, one_view = predict(model, images, augmentation, batch_size, "evaluate")
        first = images[: settings.corruption_size]
        under_corruptions = {
            name: class_probabilities(model, corrupted(first, name), batch_size, name)
            for name in settings.corruptions
        }
    for given in (probabilities, one_view, *under_corruptions.values()):
        check_probabilities(given, MODEL)

    names = np.asarray(dataset.classes)
    predictions = pd.DataFrame(
        {
            "index": np.arange(len(labels)),
            "actual": names[labels],
            "predicted": names[probabilities.argmax(axis=1)],
            "confidence": probabilities.max(axis=1).astype(np.float64),
        }
    )
    correct = probabilities.argmax(axis=1) == labels
    confidence = predictions["confidence"].to_numpy()
    calibration = calibration_table(confidence, correct, settings.calibration_bins)
    # Before the corruptions what the same images have without any.
    measured = {"none": one_view[: settings.corruption_size]} | under_corruptions
    corruptions = [
        {"corruption": name} | accuracy_with_interval(given.argmax(axis=1) == labels[: len(given)])
        for name, given in measured.items()
    ]
    per_class = scores(predictions, dataset.classes)

    found = accuracy_with_interval(correct)
    # As if there were as many test images of each class.
    balanced = np.mean([row["recall"] for row in per_class if row["images"]])
    metrics: dict[str, Any] = {
        "accuracy": found["accuracy"],
        "balanced_accuracy": balanced,
        "log_loss": log_loss(labels, probabilities, labels=range(len(names))),
        "calibration_error": expected_calibration_error(calibration),
    }
    if settings.corruptions:
        metrics["corruption_accuracy"] = np.mean([row["accuracy"] for row in corruptions[1:]])
    details = {
        "accuracy_low": found["accuracy_low"],
        "accuracy_high": found["accuracy_high"],
        "accuracy_without_tta": float((one_view.argmax(axis=1) == labels).mean()),
        "macro_f1": np.mean([row["f1"] for row in per_class]),
    }
    # Lists, so that DVC plots them and does not take them for forty metrics.
    lists = {
        "details": [rounded(details)],
        "corruptions": [rounded(row) for row in corruptions],
        "per_class": per_class,
    }

    tables = {
        PREDICTIONS: predictions,
        CALIBRATION: calibration,
        CORRUPTIONS: pd.DataFrame(corruptions),
    }
    for path, table in tables.items():
        write_atomically(path, table.to_csv(index=False, float_format="%.6g").encode())
    content = json.dumps(rounded(metrics) | lists, indent=2) + "\n"
    write_atomically(EVALUATE_METRICS, content.encode())
    write_atomically(MODEL_CARD, model_card(params, dataset, metrics | details, per_class).encode())
    table = pd.DataFrame(per_class).set_index("class")
    if len(table) > LISTED_CLASSES:
        print(f"{LISTED_CLASSES} of {len(table)} classes, of the lowest F1; all: {MODEL_CARD}")
        table = table.sort_values("f1", kind="stable")[:LISTED_CLASSES]
    print(table.to_string(float_format="%.3f"))
    print(
        f"test accuracy {metrics['accuracy']:.4f} (test-time augmentation "
        f"{settings.test_time_augmentation}), 95 % interval {found['accuracy_low']:.4f} "
        f"to {found['accuracy_high']:.4f}; log loss {metrics['log_loss']:.4f}"
    )


def scores(predictions: pd.DataFrame, classes: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return precision, recall, F1 (0 where undefined) and number of test images of each class."""
    columns = precision_recall_fscore_support(
        predictions["actual"], predictions["predicted"], labels=classes, zero_division=0
    )
    rows = zip(classes, *(column.tolist() for column in columns), strict=True)
    keys = ("class", "precision", "recall", "f1", "images")
    return [rounded(dict(zip(keys, row, strict=True))) for row in rows]


if __name__ == "__main__":
    run_stage(main, __doc__)
