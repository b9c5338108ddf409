"""Measures the trained model on the test images."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import binomtest
from sklearn.metrics import log_loss, precision_recall_fscore_support

from stages import arrays
from stages.calibration import calibration, expected_calibration_error
from stages.cifar10 import CLASSES
from stages.errors import InputError, exit_with_message
from stages.evaluate.params import EvaluateParams
from stages.files import replace
from stages.params import Device, read

MODEL = Path("models/model.keras")
METRICS = Path("metrics/evaluate.json")
PREDICTIONS = Path("plots/predictions.csv")
CALIBRATION = Path("plots/calibration.csv")
CORRUPTIONS = Path("plots/corruptions.csv")


def predictions_table(probabilities: np.ndarray, labels: np.ndarray) -> pd.DataFrame:
    """Return a row for each test image: index, actual and predicted class, and the confidence."""
    predicted = probabilities.argmax(axis=1)
    names = np.asarray(CLASSES)
    return pd.DataFrame(
        {
            "index": np.arange(len(labels)),
            "actual": names[labels],
            "predicted": names[predicted],
            "confidence": probabilities.max(axis=1).astype(np.float64),
        }
    )


def scores(actual: pd.Series, predicted: pd.Series) -> list[dict[str, object]]:
    """Return precision, recall, F1 (0 where undefined) and number of test images of each class.

    A list, so that DVC plots it and does not take it for thirty metrics.
    """
    columns = precision_recall_fscore_support(actual, predicted, labels=CLASSES, zero_division=0)
    return [
        {
            "class": name,
            "precision": round(float(precision), 6),
            "recall": round(float(recall), 6),
            "f1": round(float(f1), 6),
            "images": int(images),
        }
        for name, precision, recall, f1, images in zip(CLASSES, *columns, strict=True)
    ]


def main() -> None:
    params = read("evaluate", EvaluateParams)
    wanted = read("device", Device)
    images, labels = arrays.load("test")
    if not MODEL.exists():
        raise InputError(f"{MODEL}: missing; `dvc repro train` makes it")

    # TensorFlow takes seconds to start; what is wrong with the above is told before.
    from stages.evaluate.inference import infer

    probabilities, plain, under_corruptions = infer(
        MODEL, images, params.tta, params.batch_size, wanted, params.corruptions
    )

    table = predictions_table(probabilities, labels)
    correct = (table["actual"] == table["predicted"]).to_numpy()
    # Wilson, "Probable inference", 1927: stays within 0 and 1 and holds for small samples too.
    interval = binomtest(int(correct.sum()), len(correct)).proportion_ci(0.95, method="wilson")
    bins = calibration(table["confidence"].to_numpy(), correct, params.calibration_bins)
    per_class = scores(table["actual"], table["predicted"])
    without_tta = [
        float((answers.argmax(axis=1) == labels).mean()) for answers in (plain, *under_corruptions)
    ]
    metrics = {
        "accuracy": float(correct.mean()),
        "accuracy_low": float(interval.low),
        "accuracy_high": float(interval.high),
        "accuracy_without_tta": without_tta[0],
    }
    if under_corruptions:
        metrics["corruption_accuracy"] = float(np.mean(without_tta[1:]))
    metrics |= {
        "expected_calibration_error": expected_calibration_error(bins),
        "loss": float(log_loss(labels, probabilities, labels=range(len(CLASSES)))),
        "macro_f1": float(np.mean([row["f1"] for row in per_class])),
    }
    results = {name: round(value, 6) for name, value in metrics.items()}
    # A list, as that of `scores`.
    corruptions = [
        {"corruption": name, "accuracy": round(accuracy, 6)}
        for name, accuracy in zip(("none", *params.corruptions), without_tta, strict=True)
    ]

    tables = {PREDICTIONS: table, CALIBRATION: bins, CORRUPTIONS: pd.DataFrame(corruptions)}
    for path, content in tables.items():
        replace(path, content.to_csv(index=False, float_format="%.6f").encode())
    lists = {"corruptions": corruptions, "per_class": per_class}
    replace(METRICS, (json.dumps(results | lists, indent=2) + "\n").encode())
    print(f"test accuracy {metrics['accuracy']:.4f} (tta {params.tta}), 95 % interval", end=" ")
    print(f"{interval.low:.4f} to {interval.high:.4f}; loss {metrics['loss']:.4f}")


if __name__ == "__main__":
    exit_with_message(main, __doc__)
