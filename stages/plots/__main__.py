"""Renders what was learned as PNG figures."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from stages import arrays
from stages.cifar10 import CLASSES
from stages.errors import InputError, exit_with_message, in_one_line
from stages.params import read
from stages.plots.charts import confusion_chart, history_chart, reliability_chart
from stages.plots.params import PlotsParams
from stages.plots.pictures import grid
from stages.plots.style import VERMILLION, save
from stages.tables import PREDICTIONS, read_table

PLOTS = Path("plots")
METRICS = Path("metrics/evaluate.json")


def read_history() -> pd.DataFrame:
    """Return the history; without validation images it has no columns val_loss and val_accuracy."""
    path = PLOTS / "history.csv"
    columns = {"epoch": int, "loss": float, "accuracy": float}
    history = read_table(path, columns)
    measured = {name: float for name in ("val_loss", "val_accuracy") if name in history}
    return read_table(path, columns | measured)


def read_predictions(test_images: int) -> pd.DataFrame:
    """Return the predictions; raise an InputError where one is of an image that is not there."""
    path = PLOTS / "predictions.csv"
    predictions = read_table(path, PREDICTIONS)
    for index in predictions["index"]:
        if not 0 <= index < test_images:
            raise InputError(f"{path}: index {index}; allowed are 0 to {test_images - 1}")
    return predictions


def read_calibration_error() -> float:
    """Return the test set's expected calibration error; raise an InputError where there is none."""
    try:
        error = float(json.loads(METRICS.read_text())["expected_calibration_error"])
    except FileNotFoundError:
        raise InputError(f"{METRICS}: missing; `dvc repro evaluate` makes it") from None
    except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as reason:
        why = in_one_line(reason)
        raise InputError(f"{METRICS}: no expected_calibration_error in it: {why}") from None
    if not 0 <= error <= 1:
        raise InputError(f"{METRICS}: expected_calibration_error = {error}; allowed is 0 to 1")
    return error


def show_predictions(
    rows: pd.DataFrame, images: np.ndarray, heading: str, columns: int, dpi: int
) -> Figure:
    """Draw the test images of `rows`, each titled R:<actual>, P:<predicted> and the confidence."""
    actual, predicted, confidence = (rows[name] for name in ("actual", "predicted", "confidence"))
    titles = [
        f"R:{real}, P:{given}\n{share:.1%}"
        for real, given, share in zip(actual, predicted, confidence, strict=True)
    ]
    colours = ["black" if right else VERMILLION for right in actual == predicted]
    return grid(images[rows["index"]], titles, colours, heading, columns, dpi)


def main() -> None:
    params = read("plots", PlotsParams)
    train_images, train_labels = arrays.load("train")
    test_images, _ = arrays.load("test")
    history = read_history()
    predictions = read_predictions(len(test_images))
    bins = read_table(
        PLOTS / "calibration.csv", {"confidence": float, "accuracy": float, "count": int}
    )
    error = read_calibration_error()

    shown = params.columns * params.rows
    names = [CLASSES[label] for label in train_labels[:shown]]
    samples = grid(
        train_images[:shown],
        names,
        ["black"] * len(names),
        f"First {len(names)} of {len(train_images):,} training images",
        params.columns,
        params.dpi,
    )
    mistakes = predictions[predictions["actual"] != predictions["predicted"]]
    worst = mistakes.sort_values("confidence", ascending=False, kind="stable")[:shown]
    figures = {
        "samples": samples,
        "history": history_chart(history),
        "predictions": show_predictions(
            predictions[:shown],
            test_images,
            "Test images: real (R) and predicted (P) class",
            params.columns,
            params.dpi,
        ),
        "mistakes": show_predictions(
            worst,
            test_images,
            f"Most confident of {len(mistakes):,} mistakes on {len(predictions):,} test images",
            params.columns,
            params.dpi,
        ),
        "confusion": confusion_chart(predictions),
        "reliability": reliability_chart(bins, predictions, error),
    }
    for name, figure in figures.items():
        save(figure, PLOTS / f"{name}.png", params.dpi)
    print(f"{len(figures)} figures in {PLOTS}")


if __name__ == "__main__":
    exit_with_message(main)
