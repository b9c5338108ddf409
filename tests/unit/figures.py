"""What a figure shows, as tests compare it."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.text import Text


def texts(labels: Sequence[Text]) -> list[str]:
    """Return what labels say."""
    return [label.get_text() for label in labels]


def points(line: Line2D) -> list[list[float]]:
    """Return the pairs of x and y of a line."""
    return np.asarray(line.get_xydata()).tolist()


def assert_faint_grid(axes: Axes) -> None:
    """Assert that the lines of the grid are there, and pale."""
    for line in (*axes.get_xgridlines(), *axes.get_ygridlines()):
        assert line.get_visible()
        assert line.get_alpha() == 0.3
