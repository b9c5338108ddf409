"""Measures the trained model on the test images, and writes its card, models/README.md."""

import json
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import log_loss, precision_recall_fscore_support

from pipeline.common import device
from pipeline.common.config import Params
from pipeline.common.params import read_params
from pipeline.common.paths import (
    CALIBRATION,
    CORRUPTIONS,
    EVALUATE_METRICS,
    MODEL,
    MODEL_CARD,
    PREDICTIONS,
    TRAIN_METRICS,
)
from pipeline.common.shell import UserError, run_stage, write_atomically
from pipeline.data.arrays import LISTED_CLASSES, Dataset, load, read_dataset
from pipeline.data.corruptions import corrupted
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


# Mitchell et al., "Model Cards for Model Reporting", arXiv 1810.03993, in short.
CARD = """\
# {recipe}, for {names}

Tells which of {count} classes a square image of {side} x {side} pixels shows.

| | |
|---|---|
| data | {data}: {images:,} images to train on, {validation_images:,} to validate, \
{tested:,} to test |
| recipe | {recipe} of params.yaml, seed {seed}, {epochs} epochs, {parameters:,} parameters |
| test accuracy | {accuracy:.2%}, 95 % interval {accuracy_low:.2%} to {accuracy_high:.2%}, \
views of an image: {augmentation} |
| one view of each | {accuracy_without_tta:.2%} |
| mean over the classes | {balanced_accuracy:.2%} (balanced accuracy) |
| expected calibration error | {calibration_error:.2%} |
| made with | {environment} |

## In Keras

```python
import keras
model = keras.saving.load_model("models/model.keras")
probabilities = model.predict(images)  # float32 (n, {side}, {side}, 3), 0 to 1: (n, {count})
```

Whatever the images need besides, the model does itself. `python -m tools.predict` takes pictures of
any size.

## Classes, in the order of the probabilities

| | class | precision | recall | F1 | test images |
|---|---|---|---|---|---|
{rows}
"""
NAMED = 3  # So many classes in the heading.


def model_card(
    params: Params, dataset: Dataset, metrics: dict[str, Any], per_class: list[dict[str, Any]]
) -> str:
    """Return the card, in Markdown.

    Args:
        params: by which the model was trained and measured.
        dataset: that it is for.
        metrics: of the test images, and their details, by the names in metrics/evaluate.json.
        per_class: the scores of each class, likewise.

    Raises:
        UserError: metrics/train.json is missing or damaged.
    """
    try:
        trained = json.loads(TRAIN_METRICS.read_text(encoding="utf-8"))
        (facts,), (environment,) = trained["training"], trained["environment"]
    except (OSError, ValueError, LookupError, TypeError):
        told = f"{TRAIN_METRICS}: missing or damaged; `git checkout metrics` may bring it back"
        raise UserError(f"{told}, `dvc repro --force train` makes it") from None
    count = len(dataset.classes)
    more = f" and {count - NAMED} more" if count > NAMED else ""
    return CARD.format(
        **metrics,
        **facts,
        recipe=params.recipe,
        seed=params.seed,
        data=f"{params.dataset.name}, {params.dataset.path}",
        names=", ".join(dataset.classes[:NAMED]) + more,
        count=count,
        side=dataset.side,
        tested=sum(row["images"] for row in per_class),
        augmentation=params.evaluate.test_time_augmentation,
        environment=", ".join(f"{name} {value}" for name, value in environment.items() if value),
        rows="\n".join(
            f"| {label} | {row['class']} | {row['precision']:.3f} | {row['recall']:.3f} "
            f"| {row['f1']:.3f} | {row['images']} |"
            for label, row in enumerate(per_class)
        ),
    )


if __name__ == "__main__":
    run_stage(main, __doc__)
