"""The figures, by matplotlib: images in a grid, and charts of tables.

The palette is Okabe and Ito's for the colour-blind, https://jfly.uni-koeln.de/color/.
"""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.common.shell import write_atomically
from pipeline.data.corruptions import corrupted

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

BLUE = "#0072B2"
ORANGE = "#E69F00"
VERMILLION = "#D55E00"
GREY = "#666666"

# Of an image in a grid, of the gap between two, of a line of its title and of the heading, inches.
IMAGE = 1.28
GAP = 0.24
TITLE_LINE = 0.15
HEADING = 0.42
# Classes whose names and counts still have room in a square.
LARGEST_MATRIX = 20

# A matplotlibrc in the project's folder is read all the same.
matplotlib.rcdefaults()


def save(figure: Figure, path: Path, dpi: int) -> None:
    """Write a PNG without matplotlib's version in it, which would change the bytes."""
    content = io.BytesIO()
    figure.savefig(content, dpi=dpi, format="png", metadata={"Software": None})
    write_atomically(path, content.getvalue())


def image_grid(
    images: np.ndarray, titles: Sequence[str], heading: str, columns: int, dpi: int
) -> Figure:
    """Show images row by row, a title above each, every pixel a sharp square.

    Args:
        images: (n, side, side, 3), uint8, or float in [0, 1].
        titles: one for each image, of one or two lines.
        heading: above all.
        columns: images in a row.
        dpi: pixels per inch; an image takes the multiple of its side that is nearest to IMAGE.
    """
    pixels = images.shape[1]
    side = max(round(IMAGE * dpi / pixels), 1) * pixels / dpi
    lines = max((title.count("\n") + 1 for title in titles), default=1)
    cell_width = side + GAP
    cell_height = side + 0.12 + TITLE_LINE * lines
    rows = max(-(-len(images) // columns), 1)
    width, height = columns * cell_width, rows * cell_height + HEADING
    # Whole pixels, so that no image is resampled between them.
    figure = Figure(figsize=(round(width * dpi) / dpi, round(height * dpi) / dpi))
    width, height = figure.get_size_inches()
    figure.text(0.5, 1 - 0.2 / height, heading, ha="center", va="center", fontsize=10)
    for number, (image, title) in enumerate(zip(images, titles, strict=True)):
        row, column = divmod(number, columns)
        left = round((column * cell_width + GAP / 2) * dpi) / dpi
        bottom = round((height - HEADING - (row + 1) * cell_height + 0.06) * dpi) / dpi
        axes = figure.add_axes((left / width, bottom / height, side / width, side / height))
        axes.imshow(image, interpolation="nearest")
        axes.set_axis_off()
        # A name with two dollar signs in it is no formula.
        axes.set_title(title, fontsize=8, pad=2, parse_math=False)
    return figure


def predictions_grid(
    predictions: pd.DataFrame, images: np.ndarray, heading: str, columns: int, dpi: int
) -> Figure:
    """Show images titled R: <actual>, P: <predicted> and the confidence, orange where wrong.

    Args:
        predictions: columns index, of the image, actual, predicted and confidence.
        images: all test images, float (n, side, side, 3) in [0, 1].
        heading: above all.
        columns: images in a row.
        dpi: pixels per inch.
    """
    rows = predictions.to_dict("records")
    titles = [f"R: {r['actual']}\nP: {r['predicted']} {r['confidence']:.1%}" for r in rows]
    figure = image_grid(images[predictions["index"]], titles, heading, columns, dpi)
    for axes, row in zip(figure.axes, rows, strict=True):
        axes.title.set_color("black" if row["actual"] == row["predicted"] else VERMILLION)
    return figure


def corruptions_grid(corruptions: pd.DataFrame, images: np.ndarray, dpi: int) -> Figure:
    """Show images, a row each, without and under each corruption, titled with the accuracy.

    Args:
        corruptions: columns corruption, which may be "none", and accuracy.
        images: float32 (n, side, side, 3) in [0, 1].
        dpi: pixels per inch.
    """
    names, accuracies = corruptions["corruption"], corruptions["accuracy"]
    titles = [f"{name}\n{share:.1%}" for name, share in zip(names, accuracies, strict=True)]
    changed = [images if name == "none" else corrupted(images, name) for name in names]
    heading = f"Accuracy under corruptions, and the first {len(images)} test images"
    shown = np.stack(changed, axis=1).reshape(-1, *images.shape[1:])
    return image_grid(shown, titles * len(images), heading, len(titles), dpi)


def history_chart(history: pd.DataFrame) -> Figure:
    """Draw loss and accuracy over epochs, of training and, where there is one, of validation.

    Args:
        history: columns epoch, loss, accuracy and perhaps val_loss and val_accuracy.
    """
    figure = Figure(figsize=(10, 4), layout="constrained")
    curves = {"loss": "Loss (cross-entropy)", "accuracy": "Accuracy (top-1)"}
    style = {"markersize": 4 if len(history) <= 30 else 0}
    for axes, (name, label) in zip(figure.subplots(1, 2), curves.items(), strict=True):
        epochs = history["epoch"]
        axes.plot(epochs, history[name], "o-", color=BLUE, label="training", **style)
        if f"val_{name}" in history:
            validation = history[f"val_{name}"]
            axes.plot(epochs, validation, "s-", color=ORANGE, label="validation", **style)
        axes.set(xlabel="Epoch", ylabel=label, title=label.split(" (")[0])
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.3)
        axes.legend()
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return figure


def confusion_chart(predictions: pd.DataFrame, classes: tuple[str, ...]) -> Figure:
    """Draw how many images of each class were taken for which.

    Of more than LARGEST_MATRIX classes, the pairs that were confused most often.

    Args:
        predictions: columns actual and predicted, class names.
        classes: all names, in the order of rows and columns.
    """
    if len(classes) > LARGEST_MATRIX:
        return confused_pairs_chart(predictions)
    table = pd.crosstab(predictions["actual"], predictions["predicted"])
    counts = table.reindex(index=classes, columns=classes, fill_value=0).to_numpy()
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # Inches; with fewer classes, names and scale would have no room.
    side = 0.55 * max(len(classes), 6)
    figure = Figure(figsize=(side + 2.5, side + 1.5), layout="constrained")
    axes = figure.subplots()
    mesh = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if share[row, column] > 0.5 else "black"
        axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=9)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(range(len(classes)), classes, parse_math=False)
    axes.tick_params("x", rotation=45)
    for label in axes.get_xticklabels():
        label.set(ha="right", rotation_mode="anchor")
    axes.set(xlabel="Predicted class", ylabel="Actual class", title="Confusion, test images")
    bar = figure.colorbar(mesh, ax=axes, shrink=0.85, format=PercentFormatter(1, decimals=0))
    bar.set_label("Share of the actual class")
    return figure


def confused_pairs_chart(predictions: pd.DataFrame) -> Figure:
    """Draw the most frequent pairs of an actual and another, predicted class.

    Args:
        predictions: columns actual and predicted, class names.
    """
    wrong = predictions[predictions["actual"] != predictions["predicted"]]
    pairs = wrong.groupby(["actual", "predicted"]).size().sort_values(kind="stable")
    shown = pairs[-LARGEST_MATRIX:]
    names = [f"{actual} as {predicted}"[:60] for actual, predicted in shown.index]
    figure = Figure(figsize=(8, 1.5 + 0.3 * max(len(shown), 2)), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh(range(len(shown)), shown, color=BLUE)
    axes.bar_label(bars, padding=3)
    axes.set_yticks(range(len(shown)), names, parse_math=False)
    title = f"Most frequent of {len(wrong):,} mistakes on {len(predictions):,} test images"
    axes.set(xlabel="Test images", title=title)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    return figure


def reliability_chart(
    calibration: pd.DataFrame, predictions: pd.DataFrame, calibration_error: float
) -> Figure:
    """Draw accuracy over confidence, and how confident right and wrong predictions are.

    Args:
        calibration: columns confidence and accuracy, means over a bin.
        predictions: columns actual, predicted and confidence.
        calibration_error: the expected one, named in the title, 0 to 1.
    """
    figure = Figure(figsize=(6, 6.5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    upper.plot([0, 1], [0, 1], "--", color=GREY, linewidth=1, label="perfectly calibrated")
    confidence, accuracy = calibration["confidence"], calibration["accuracy"]
    # A point on the border is drawn whole.
    upper.plot(confidence, accuracy, "o-", color=BLUE, label="this model", clip_on=False)
    title = f"Reliability, expected calibration error {calibration_error:.1%}"
    upper.set(ylabel="Accuracy", title=title, xlim=(0, 1), ylim=(0, 1))
    right = predictions["actual"] == predictions["predicted"]
    lower.hist(
        [predictions["confidence"][right], predictions["confidence"][~right]],
        bins=20,
        range=(0, 1),
        stacked=True,
        color=[BLUE, ORANGE],
        label=["right", "wrong"],
    )
    lower.set(xlabel="Confidence in the predicted class", ylabel="Test images")
    for axes in (upper, lower):
        axes.legend(loc="upper left")
        axes.grid(alpha=0.3)
        axes.set_axisbelow(True)
    upper.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    lower.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return figure
