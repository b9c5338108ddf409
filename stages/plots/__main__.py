"""Renders what was learned as PNG figures."""

from typing import Literal

import numpy as np
import pandas as pd

from stages import arrays
from stages import settings as settings  # Before matplotlib, which reads what it sets.
from stages.cifar10 import CLASSES, SIDE
from stages.corruptions import Corruption, corrupted
from stages.errors import exit_with_message
from stages.params import read
from stages.plots.charts import confusion_chart, history_chart, reliability_chart
from stages.plots.inputs import (
    PLOTS,
    read_calibration_error,
    read_corruptions,
    read_history,
    read_predictions,
)
from stages.plots.params import PlotsParams
from stages.plots.pictures import grid
from stages.plots.style import VERMILLION, save
from stages.tables import read_table

from matplotlib.figure import Figure  # isort: skip


def show_corruptions(
    accuracies: dict[Corruption | Literal["none"], float], images: np.ndarray, dpi: int
) -> Figure:
    """Draw images, a row each, without and under each corruption, titled with the accuracy."""
    changed = [images if name == "none" else corrupted(images, name) for name in accuracies]
    titles = [f"{name}\n{accuracy:.1%}" for name, accuracy in accuracies.items()]
    count = len(images) * len(titles)
    return grid(
        np.stack(changed, axis=1).reshape(count, SIDE, SIDE, 3),
        titles * len(images),
        ["black"] * count,
        f"Accuracy under corruptions, and the first {len(images)} test images",
        len(titles),
        dpi,
    )


def first_of_both(predictions: pd.DataFrame, count: int) -> pd.DataFrame:
    """Return so many of the first rows, a quarter of them wrong where there are enough of both."""
    is_right = predictions["actual"] == predictions["predicted"]
    wrong = predictions[~is_right][: max(count // 4, count - is_right.sum())]
    right = predictions[is_right][: count - len(wrong)]
    return pd.concat([right, wrong]).sort_index()


def show_predictions(
    rows: pd.DataFrame, images: np.ndarray, heading: str, columns: int, dpi: int
) -> Figure:
    """Draw the test images of `rows`, titled R: <actual>, P: <predicted> and the confidence."""
    actual, predicted, confidence = (rows[name] for name in ("actual", "predicted", "confidence"))
    titles = [
        f"R: {real}\nP: {given} {share:.1%}"
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
    corruptions = read_corruptions()

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
    examples = first_of_both(predictions, shown)
    right = int((examples["actual"] == examples["predicted"]).sum())
    figures = {
        "samples": samples,
        "history": history_chart(history),
        "predictions": show_predictions(
            examples,
            test_images,
            f"First {right:,} right and first {len(examples) - right:,} wrong (red) predictions; "
            "R: real class, P: predicted",
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
        "corruptions": show_corruptions(corruptions, test_images[: params.rows], params.dpi),
        "reliability": reliability_chart(bins, predictions, error),
    }
    for name, figure in figures.items():
        save(figure, PLOTS / f"{name}.png", params.dpi)
    print(f"{len(figures)} figures in {PLOTS}")


if __name__ == "__main__":
    exit_with_message(main, __doc__)
