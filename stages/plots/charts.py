"""Figures of numbers: training history, confusion matrix, reliability diagram."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from stages.cifar10 import CLASSES
from stages.plots.style import BLUE, GREY, ORANGE

CURVES = {"loss": "Loss (cross-entropy)", "accuracy": "Accuracy (top-1)"}


def history_chart(history: pd.DataFrame) -> Figure:
    """Draw loss and accuracy over epochs, of training and, where there is one, of validation.

    Args:
        history: columns epoch, loss, accuracy and perhaps val_loss and val_accuracy.
    """
    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, (name, label) in zip(figure.subplots(1, 2), CURVES.items(), strict=True):
        series = {"training": (name, BLUE, "o"), "validation": (f"val_{name}", ORANGE, "s")}
        for legend, (column, colour, marker) in series.items():
            if column in history:
                size = 4 if len(history) <= 30 else 0
                axes.plot(
                    history["epoch"],
                    history[column],
                    color=colour,
                    marker=marker,
                    markersize=size,
                    label=legend,
                )
        axes.set(xlabel="Epoch", ylabel=label, title=label.split(" (")[0])
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.3)
        axes.legend()
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return figure


def confusion_chart(predictions: pd.DataFrame) -> Figure:
    """Draw how many images of each class were taken for which.

    Args:
        predictions: columns actual and predicted, class names.
    """
    table = pd.crosstab(predictions["actual"], predictions["predicted"])
    counts = table.reindex(index=CLASSES, columns=CLASSES, fill_value=0).to_numpy()
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(8, 7), layout="constrained")
    axes = figure.subplots()
    mesh = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if share[row, column] > 0.5 else "black"
        axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=9)
    axes.set_xticks(range(len(CLASSES)), CLASSES, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(CLASSES)), CLASSES)
    axes.set(xlabel="Predicted class", ylabel="Actual class", title="Confusion, test images")
    bar = figure.colorbar(mesh, ax=axes, shrink=0.85, format=PercentFormatter(1, decimals=0))
    bar.set_label("Share of the actual class")
    return figure


def reliability_chart(
    bins: pd.DataFrame, predictions: pd.DataFrame, expected_calibration_error: float
) -> Figure:
    """Draw accuracy over confidence, and how confident right and wrong predictions are.

    Args:
        bins: columns confidence and accuracy, means over the bin.
        predictions: columns actual, predicted and confidence.
        expected_calibration_error: named in the title, 0 to 1.
    """
    figure = Figure(figsize=(6, 6.5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    upper.plot(
        [0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="perfectly calibrated"
    )
    upper.plot(
        bins["confidence"],
        bins["accuracy"],
        color=BLUE,
        marker="o",
        label="this model",
        clip_on=False,
    )
    error = f"expected calibration error {expected_calibration_error:.1%}"
    upper.set(ylabel="Accuracy", title=f"Reliability, {error}", xlim=(0, 1), ylim=(0, 1))
    upper.legend(loc="upper left")
    right = predictions["actual"] == predictions["predicted"]
    confidence = [predictions["confidence"][right], predictions["confidence"][~right]]
    lower.hist(
        confidence,
        bins=20,
        range=(0, 1),
        stacked=True,
        color=[BLUE, ORANGE],
        label=["right", "wrong"],
    )
    lower.legend(loc="upper left")
    lower.set(xlabel="Confidence in the predicted class", ylabel="Test images")
    for axes in (upper, lower):
        axes.grid(alpha=0.3)
        axes.set_axisbelow(True)
    upper.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    lower.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return figure
