"""How far confidence is from accuracy: the bins, and their mean distance."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.calibration import calibration, expected_calibration_error


def test_calibration_by_hand() -> None:
    confidence = np.array([0.55, 0.6, 0.95, 1.0, 0.1])
    correct = np.array([True, False, True, True, False])
    bins = calibration(confidence, correct, 10)
    assert bins.columns.to_list() == ["confidence", "accuracy", "count"]
    assert bins.index.to_list() == [0, 1, 2]
    assert bins["count"].tolist() == [1, 2, 2]
    np.testing.assert_allclose(bins["confidence"], [0.1, 0.575, 0.975])
    assert bins["accuracy"].tolist() == [0, 0.5, 1]
    expected = (1 * 0.1 + 2 * 0.075 + 2 * 0.025) / 5
    assert expected_calibration_error(bins) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("confidence", "bins", "counts"),
    [
        # What is on a border belongs to the bin below it.
        ([0.25, 0.5, 0.75, 1.0], 4, [1, 1, 1, 1]),
        ([0.25, 0.2500001, 0.5, 0.5000001], 4, [1, 2, 1]),
        ([0.25, 0.2499999], 4, [2]),
        # The first bin has 0 for a border, the last one 1.
        ([1e-12, 0.25, 0.7500001, 1.0], 4, [2, 2]),
        # Rounded up, a confidence may be a little above 1.
        ([0.9, 1.0, 1.0000001], 4, [3]),
        ([0.0, 0.1], 4, [2]),
        ([1e-12, 0.5, 1.0], 1, [3]),
        ([0.33, 0.34], 3, [1, 1]),
    ],
)
def test_borders_of_bins(confidence: list[float], bins: int, counts: list[int]) -> None:
    rows = calibration(np.array(confidence), np.ones(len(confidence), bool), bins)
    assert rows["count"].to_list() == counts


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.001, 1), st.booleans()), min_size=1, max_size=30),
    st.integers(1, 20),
)
def test_bins_follow_their_definition(answers: list[tuple[float, bool]], bins: int) -> None:
    """By comparison with the borders k / bins, one bin after the other."""
    confidence, correct = map(np.array, zip(*answers, strict=True))
    found = calibration(confidence, correct, bins)
    row, distances = 0, 0.0
    for number in range(bins):
        # As the borders are rounded: the product, not the quotient.
        inside = (confidence * bins > number) & (confidence * bins <= number + 1)
        if inside.any():
            expected = confidence[inside].mean(), correct[inside].mean(), inside.sum()
            assert found.to_numpy()[row].tolist() == pytest.approx(expected)
            distances += abs(confidence[inside].sum() - correct[inside].sum())
            row += 1
    assert len(found) == row
    assert expected_calibration_error(found) == pytest.approx(distances / len(answers), abs=1e-12)


def test_error_counts_too_high_and_too_low_confidence() -> None:
    """One of four is 0.2 too sure, three are 0.4 too unsure: neither makes up for the other."""
    confidence, correct = np.array([0.2, 0.6, 0.6, 0.6]), np.array([False, True, True, True])
    error = expected_calibration_error(calibration(confidence, correct, 2))
    assert type(error) is float
    assert error == pytest.approx((0.2 + 3 * 0.4) / 4)
