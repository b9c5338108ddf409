"""The reliability diagram: accuracy over confidence, and how often which confidence occurs."""

from typing import cast

import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from stages.plots.charts import reliability_chart
from tests.unit.figures import assert_faint_grid, points, texts

BLUE, ORANGE, GREY = "#0072b2", "#e69f00", "#666666"
PERCENTS = ["0%", "20%", "40%", "60%", "80%", "100%"]
BINS = pd.DataFrame(
    {"count": [4, 5, 6], "confidence": [0.25, 0.75, 0.96], "accuracy": [0.2, 0.8, 1]}
)
PREDICTIONS = pd.DataFrame(
    [
        ("cat", "cat", 1.0),
        ("cat", "cat", 0.97),
        ("dog", "cat", 0.98),
        ("dog", "dog", 0.26),
        ("ship", "frog", 0.26),
        ("ship", "frog", 0.28),
        ("ship", "frog", 0.0),
    ],
    columns=["actual", "predicted", "confidence"],
)
# How many are in which of twenty bins; the first holds 0, the last holds 1.
RIGHT = {5: 1, 19: 2}
WRONG = {0: 1, 5: 2, 19: 1}


@pytest.fixture
def reliability() -> Figure:
    """Return the figure of BINS and PREDICTIONS, drawn."""
    figure = reliability_chart(BINS, PREDICTIONS, 0.0325)
    figure.draw_without_rendering()
    return figure


def histograms(axes: Axes) -> list[list[Rectangle]]:
    """Return the bars of each histogram."""
    return [container.patches for container in cast("list[BarContainer]", axes.containers)]


def test_accuracy_is_over_confidence(reliability: Figure) -> None:
    upper, _ = reliability.axes
    diagonal, model = upper.get_lines()
    assert points(diagonal) == [[0, 0], [1, 1]]
    assert (to_hex(diagonal.get_color()), diagonal.get_linestyle()) == (GREY, "--")
    assert diagonal.get_linewidth() == 1
    assert points(model) == [[0.25, 0.2], [0.75, 0.8], [0.96, 1]]
    assert (to_hex(model.get_color()), model.get_linestyle()) == (BLUE, "-")
    assert model.get_marker() == "o"
    # A point on the border is drawn whole.
    assert not model.get_clip_on()
    assert (upper.get_xlim(), upper.get_ylim()) == ((0, 1), (0, 1))


def test_confidences_are_counted(reliability: Figure) -> None:
    _, lower = reliability.axes
    right, wrong = histograms(lower)
    # The wrong ones stand on the right ones.
    for bars, colour, counts, below in ((right, BLUE, RIGHT, {}), (wrong, ORANGE, WRONG, RIGHT)):
        assert len(bars) == 20
        for number, bar in enumerate(bars):
            assert bar.get_x() == pytest.approx(number / 20)
            assert bar.get_width() == pytest.approx(1 / 20)
            assert bar.get_height() == counts.get(number, 0)
            assert bar.get_y() == below.get(number, 0)
            assert to_hex(bar.get_facecolor()) == colour
    assert lower.get_xlim() == (0, 1)


def test_bins_are_the_same_whatever_the_confidences() -> None:
    narrow = PREDICTIONS[PREDICTIONS["confidence"].between(0.26, 0.28)]
    right, _ = histograms(reliability_chart(BINS, narrow, 0.0).axes[1])
    edges = [bar.get_x() for bar in right]
    assert edges == pytest.approx([number / 20 for number in range(20)])


def test_everything_is_named(reliability: Figure) -> None:
    upper, lower = reliability.axes
    assert upper.get_title() == "Reliability, expected calibration error 3.2%"
    assert upper.get_ylabel() == "Accuracy"
    assert lower.get_xlabel() == "Confidence in the predicted class"
    assert lower.get_ylabel() == "Test images"
    for axes, names in (
        (upper, ["perfectly calibrated", "this model"]),
        (lower, ["right", "wrong"]),
    ):
        legend = axes.get_legend()
        assert legend
        assert texts(legend.get_texts()) == names
        # In the upper left quarter, where a good model has neither points nor high bars.
        box, around = legend.get_window_extent(), axes.get_window_extent()
        assert box.x0 + box.x1 < around.x0 + around.x1
        assert box.y0 + box.y1 > around.y0 + around.y1
    assert texts(upper.get_yticklabels()) == texts(lower.get_xticklabels()) == PERCENTS
    assert not any("%" in text for text in texts(lower.get_yticklabels()))
    assert not any(label.get_visible() for label in upper.get_xticklabels())


def test_legends_stay_where_they_are(reliability: Figure) -> None:
    """Even over points and bars, so that two pages can be compared."""
    bins = pd.DataFrame({"count": [9, 9], "confidence": [0.05, 0.3], "accuracy": [0.97, 0.99]})
    other = reliability_chart(bins, PREDICTIONS.assign(confidence=0.1), 0.5)
    other.draw_without_rendering()
    for axes, same in zip(reliability.axes, other.axes, strict=True):
        legends = axes.get_legend(), same.get_legend()
        places = [legend.get_window_extent().x0 for legend in legends if legend]
        assert places == pytest.approx([places[0]] * 2, abs=20)


def test_figure_is_filled_and_has_a_faint_grid(reliability: Figure) -> None:
    assert reliability.get_size_inches().tolist() == [6, 6.5]
    upper, lower = reliability.axes
    above, below = upper.get_tightbbox(), lower.get_tightbbox()
    assert above
    assert below
    width, height = reliability.bbox.size
    assert 0 <= below.y0 < 10
    assert below.y1 < above.y0
    assert height - 10 < above.y1 <= height
    assert 0 <= min(above.x0, below.x0) < 10
    assert width - 10 < max(above.x1, below.x1) <= width
    heights = [axes.get_window_extent().height for axes in (upper, lower)]
    assert heights[0] == pytest.approx(3 * heights[1], rel=0.02)
    for axes in (upper, lower):
        assert axes.get_axisbelow() is True
        assert_faint_grid(axes)


@pytest.mark.parametrize(("column", "counts"), [("predicted", [7, 0]), ("actual", [0, 7])])
def test_only_right_or_only_wrong(column: str, counts: list[int]) -> None:
    """All are taken for what they are, or all are of a class that none is taken for."""
    truth = PREDICTIONS["actual"] if column == "predicted" else "deer"
    figure = reliability_chart(BINS, PREDICTIONS.assign(**{column: truth}), 0.0)
    sums = [sum(bar.get_height() for bar in bars) for bars in histograms(figure.axes[1])]
    assert sums == counts
