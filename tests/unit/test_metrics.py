"""Accuracy with its interval, and how far confidence is from it, by their formulas."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.evaluation.metrics import (
    accuracy_with_interval,
    calibration_table,
    expected_calibration_error,
)


@pytest.mark.parametrize(("right", "count"), [(4, 7), (0, 7), (7, 7), (9000, 10_000)])
def test_wilson_s_interval_in_closed_form(right: int, count: int) -> None:
    n, p, z = count, right / count, 1.959963984540054
    centre, half = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    found = accuracy_with_interval(np.arange(count) < right)
    assert found == {
        "accuracy": pytest.approx(p),
        "accuracy_low": pytest.approx((centre - half) / (1 + z * z / n), abs=1e-12),
        "accuracy_high": pytest.approx((centre + half) / (1 + z * z / n)),
    }


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.001, 1), st.booleans()), min_size=1, max_size=30),
    st.integers(1, 20),
)
# What is on a border belongs to the bin below it; rounded up, a confidence may be a little above 1.
@example([(0.25, True), (0.2500001, True), (0.5, True), (0.75, True), (1.0, True)], 4)
@example([(0.0, True), (1e-12, True), (0.9, True), (1.0000001, True)], 4)
def test_bins_follow_their_definition(answers: list[tuple[float, bool]], bins: int) -> None:
    confidence, correct = map(np.array, zip(*answers, strict=True))
    expected, distances = [], 0.0
    place = (confidence * bins).clip(1e-9, bins)
    for number in range(bins):
        inside = (place > number) & (place <= number + 1)
        if inside.any():
            expected.append([confidence[inside].mean(), correct[inside].mean(), inside.sum()])
            distances += abs(confidence[inside].sum() - correct[inside].sum())
    found = calibration_table(confidence, correct, bins)
    assert found.columns.to_list() == ["confidence", "accuracy", "count"]
    np.testing.assert_allclose(found.to_numpy(float), expected)
    assert expected_calibration_error(found) == pytest.approx(distances / len(answers), abs=1e-12)
