"""Whether one model is better than another, by the formulas of the interval and of the test."""

import re

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest, norm

from tools.compare import difference


@pytest.mark.parametrize(
    ("first", "second", "both", "neither"),
    [(1, 3, 4, 2), (2, 2, 3, 1), (6, 0, 3, 1), (0, 5, 0, 0), (60, 100, 840, 0), (80, 100, 800, 20)],
)
def test_difference_of_two_models(first: int, second: int, both: int, neither: int) -> None:
    """So many images only the first has right, only the second, and so on."""
    counts = (first, second, both, neither)
    one, two = (pd.Series(np.repeat(of, counts)) for of in ([1, 0, 1, 0], [0, 1, 1, 0]))
    count = sum(counts)
    d = (second - first) / count
    # Of differences 1, -1 and 0, the mean of the squares less the square of the mean.
    half = norm.ppf(0.975) * np.sqrt(((first + second) / count - d**2) / count)
    p = binomtest(first, first + second).pvalue
    lines = difference(one.astype(bool), two.astype(bool))
    assert lines[0] == f"difference: {d:+.2%}, 95 % interval {d - half:+.2%} to {d + half:+.2%}"
    assert [*map(int, re.findall(r"\d+", lines[1]))] == [first, second]
    verdict = "more" if p < 0.05 else "no more"
    assert lines[2] == f"McNemar's test: p = {p:.2g}, {verdict} than chance explains at 5 %"


def test_models_that_are_right_and_wrong_on_the_same_images() -> None:
    right = pd.Series([True, False])
    assert difference(right, right)[-1] == "both are right and wrong on the same images"
