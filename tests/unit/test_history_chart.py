"""The training history as a figure: the curves, their colours, scales and names."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from stages.plots.charts import history_chart
from tests.unit.figures import assert_faint_grid, points, texts

BLUE, ORANGE = "#0072b2", "#e69f00"


def history(epochs: int) -> pd.DataFrame:
    """Return a history in which every value is another."""
    table = pd.DataFrame({"epoch": np.arange(1, epochs + 1)})
    for number, name in enumerate(["loss", "accuracy", "val_loss", "val_accuracy"], 1):
        table[name] = number / 10 + table["epoch"] / 1000
    return table


def legends(figure: Figure) -> list[list[str]]:
    """Return the names in the legend of each axes."""
    found = [axes.get_legend() for axes in figure.axes]
    return [texts(legend.get_texts()) for legend in found if legend]


def test_curves_of_training_and_validation() -> None:
    table = history(30)
    figure = history_chart(table)
    assert figure.get_size_inches().tolist() == [10, 4]
    for axes, name in zip(figure.axes, ("loss", "accuracy"), strict=True):
        training, validation = axes.get_lines()
        assert points(training) == table[["epoch", name]].to_numpy().tolist()
        assert points(validation) == table[["epoch", f"val_{name}"]].to_numpy().tolist()
        assert [to_hex(line.get_color()) for line in (training, validation)] == [BLUE, ORANGE]
        assert [line.get_marker() for line in (training, validation)] == ["o", "s"]
        assert [line.get_markersize() for line in (training, validation)] == [4, 4]
    assert legends(figure) == [["training", "validation"]] * 2


def test_curves_are_named() -> None:
    loss, accuracy = history_chart(history(2)).axes
    assert (loss.get_title(), loss.get_ylabel()) == ("Loss", "Loss (cross-entropy)")
    assert (accuracy.get_title(), accuracy.get_ylabel()) == ("Accuracy", "Accuracy (top-1)")
    assert loss.get_xlabel() == accuracy.get_xlabel() == "Epoch"


def test_only_accuracy_is_in_percent() -> None:
    loss, accuracy = history_chart(history(2)).axes
    assert accuracy.yaxis.get_major_formatter().format_ticks([0.5, 0.926]) == ["50%", "93%"]
    assert loss.yaxis.get_major_formatter().format_ticks([0.5, 1.0]) == ["0.5", "1.0"]


def test_many_epochs_have_no_markers() -> None:
    for axes in history_chart(history(31)).axes:
        assert [line.get_markersize() for line in axes.get_lines()] == [0, 0]


def test_history_without_validation() -> None:
    figure = history_chart(history(3)[["epoch", "loss", "accuracy"]])
    assert legends(figure) == [["training"]] * 2
    assert [to_hex(line.get_color()) for axes in figure.axes for line in axes.lines] == [BLUE] * 2


@pytest.mark.parametrize("epochs", [1, 2, 3, 12, 200])
def test_epochs_are_whole_numbers(epochs: int) -> None:
    for axes in history_chart(history(epochs)).axes:
        low, high = axes.get_xlim()
        shown = [tick for tick in axes.get_xticks() if low <= tick <= high]
        assert shown
        assert all(tick == round(tick) for tick in shown)


def test_figure_is_filled_and_has_a_faint_grid() -> None:
    figure = history_chart(history(3))
    figure.draw_without_rendering()
    loss, accuracy = figure.axes
    left, right = loss.get_tightbbox(), accuracy.get_tightbbox()
    assert left
    assert right
    width, height = figure.bbox.size
    assert 0 <= left.x0 < 10
    assert left.x1 < right.x0
    assert width - 10 < right.x1 <= width
    for axes, box in ((loss, left), (accuracy, right)):
        assert 0 <= box.y0 < 10
        assert height - 10 < box.y1 <= height
        assert_faint_grid(axes)
