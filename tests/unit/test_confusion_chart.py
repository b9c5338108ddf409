"""The confusion matrix as a figure: which class is where, the counts, and how dark they are."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from stages.cifar10 import CLASSES
from stages.plots.charts import confusion_chart
from tests.unit.figures import texts

# Actual, predicted, how often; of the other classes there is no image.
TAKEN = [
    ("airplane", "airplane", 1),
    ("airplane", "truck", 3),
    ("bird", "bird", 2),
    ("bird", "cat", 2),
    ("cat", "airplane", 1),
    ("truck", "truck", 2),
]


@pytest.fixture
def confusion() -> Figure:
    """Return the figure of TAKEN, drawn."""
    rows = [row[:2] for row in TAKEN for _ in range(row[2])]
    figure = confusion_chart(pd.DataFrame(rows, columns=["actual", "predicted"]))
    figure.draw_without_rendering()
    return figure


def test_actual_classes_are_in_rows(confusion: Figure) -> None:
    share = np.zeros((10, 10))
    share[0, 0], share[0, 9] = 1 / 4, 3 / 4
    share[2, 2], share[2, 3] = 1 / 2, 1 / 2
    share[3, 0] = share[9, 9] = 1
    axes = confusion.axes[0]
    (image,) = axes.images
    assert np.array_equal(np.asarray(image.get_array()), share)
    assert (image.get_cmap().name, image.get_clim()) == ("Blues", (0, 1))
    # The first row is above, the first column left.
    assert [*image.get_extent()] == [-0.5, 9.5, 9.5, -0.5]
    assert (axes.get_xlim(), axes.get_ylim()) == ((-0.5, 9.5), (9.5, -0.5))


def test_each_cell_holds_its_count(confusion: Figure) -> None:
    cells = {}
    for text in confusion.axes[0].texts:
        column, row = map(int, text.get_position())
        cells[CLASSES[row], CLASSES[column]] = text
    assert len(confusion.axes[0].texts) == len(cells) == 100
    assert [
        (*cell, int(text.get_text())) for cell, text in cells.items() if text.get_text() != "0"
    ] == TAKEN
    # White where the cell is dark: above one half.
    dark = {("airplane", "truck"), ("cat", "airplane"), ("truck", "truck")}
    for cell, text in cells.items():
        assert text.get_color() == ("white" if cell in dark else "black")
        assert (
            text.get_horizontalalignment(),
            text.get_verticalalignment(),
            text.get_fontsize(),
        ) == ("center", "center", 9)


def test_rows_columns_and_colours_are_named(confusion: Figure) -> None:
    axes, bar = confusion.axes
    assert axes.get_title() == "Confusion, test images"
    assert axes.get_xlabel() == "Predicted class"
    assert axes.get_ylabel() == "Actual class"
    assert axes.get_xticks().tolist() == axes.get_yticks().tolist() == [*range(10)]
    assert texts(axes.get_xticklabels()) == texts(axes.get_yticklabels()) == [*CLASSES]
    # Slanted, and ending at their column.
    for label in axes.get_xticklabels():
        assert label.get_rotation() == 45
        assert (label.get_horizontalalignment(), label.get_rotation_mode()) == ("right", "anchor")
    assert bar.get_ylabel() == "Share of the actual class"
    # The bar explains the matrix's own colours.
    colorbar = axes.images[0].colorbar
    assert colorbar
    assert colorbar.ax is bar
    assert texts(bar.get_yticklabels()) == ["0%", "20%", "40%", "60%", "80%", "100%"]


def test_figure_is_filled(confusion: Figure) -> None:
    assert confusion.get_size_inches().tolist() == [8, 7]
    axes, bar = confusion.axes
    boxes = [box for box in (axes.get_tightbbox(), bar.get_tightbbox()) if box]
    box = Bbox.union(boxes)
    width, height = confusion.bbox.size
    assert 0 <= box.x0 < 10
    assert 0 <= box.y0 < 20
    assert width - 10 < box.x1 <= width
    assert height - 20 < box.y1 <= height
    assert boxes[0].x1 < boxes[1].x0
    # Beside the matrix, and somewhat shorter.
    assert 0.8 < bar.get_window_extent().height / axes.get_window_extent().height < 1


def test_colours_mean_the_same_for_every_model() -> None:
    """Here each class is taken for each class as often."""
    rows = [*product(CLASSES, CLASSES)]
    figure = confusion_chart(pd.DataFrame(rows, columns=["actual", "predicted"]))
    (image,) = figure.axes[0].images
    assert np.asarray(image.get_array()).tolist() == [[0.1] * 10] * 10
    assert image.get_clim() == (0, 1)
