"""Renders what was learned as PNG figures."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from stages import arrays
from stages.cifar10 import CLASSES
from stages.errors import InputError, exit_with_message
from stages.params import read
from stages.plots.charts import confusion_chart, history_chart, reliability_chart
from stages.plots.params import PlotsParams
from stages.plots.pictures import grid
from stages.plots.style import VERMILLION, save

PLOTS = Path("plots")
METRICS = Path("metrics/evaluate.json")


def read_table(path: Path, columns: list[str]) -> pd.DataFrame:
    """Read a CSV file; raise an InputError where it is missing, empty or lacks a column."""
    try:
        table = pd.read_csv(path)
    except FileNotFoundError:
        raise InputError(f"{path}: missing; `dvc repro` makes it") from None
    except ValueError as error:
        raise InputError(f"{path}: not a readable CSV file: {error}") from None
    for column in columns:
        if column not in table:
            raise InputError(f"{path}: no column {column}; found {', '.join(table.columns)}")
    return table


def read_calibration_error() -> float:
    """Give the test set's expected calibration error; raise an InputError where there is none."""
    try:
        return float(json.loads(METRICS.read_text())["expected_calibration_error"])
    except FileNotFoundError:
        raise InputError(f"{METRICS}: missing; `dvc repro evaluate` makes it") from None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{METRICS}: no expected_calibration_error in it: {error}") from None


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
    history = read_table(PLOTS / "history.csv", ["epoch", "loss", "accuracy"])
    predictions = read_table(
        PLOTS / "predictions.csv", ["index", "actual", "predicted", "confidence"]
    )
    bins = read_table(PLOTS / "calibration.csv", ["confidence", "accuracy", "count"])
    error = read_calibration_error()
    train_images, train_labels = arrays.load("train")
    test_images, _ = arrays.load("test")

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
