"""How often a classifier is right, and how far its confidence is from that."""

from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest


def rounded(facts: dict[str, Any]) -> dict[str, Any]:
    """Return facts, fractions among them with six significant digits."""
    return {k: float(f"{v:.6g}") if isinstance(v, float) else v for k, v in facts.items()}


def accuracy_with_interval(correct: np.ndarray) -> dict[str, float]:
    """Return the accuracy and its 95 % interval, of whether each prediction is right, bool (n,).

    Wilson, "Probable inference", 1927: stays within 0 and 1 and holds for small samples too.
    """
    interval = binomtest(int(correct.sum()), len(correct)).proportion_ci(0.95, method="wilson")
    return {
        "accuracy": float(correct.mean()),
        "accuracy_low": float(interval.low),
        "accuracy_high": float(interval.high),
    }


def calibration_table(confidence: np.ndarray, correct: np.ndarray, bins: int) -> pd.DataFrame:
    """Return a row for each of `bins` equal bins of confidence that holds a prediction.

    Guo et al., "On Calibration of Modern Neural Networks", 2017, arXiv 1706.04599. A confidence on
    the border of two bins belongs to the lower one.

    Args:
        confidence: probability of the predicted class, float (n,) in (0, 1].
        correct: whether the prediction is right, bool (n,).
        bins: how many.

    Returns:
        columns confidence and accuracy, both means over the bin, and count.
    """
    # Rounded up, a confidence may be a little above 1.
    number = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    table = pd.DataFrame({"confidence": confidence, "accuracy": correct, "number": number})
    rows = table.groupby("number").agg(
        confidence=("confidence", "mean"), accuracy=("accuracy", "mean"), count=("accuracy", "size")
    )
    return rows.reset_index(drop=True)


def expected_calibration_error(table: pd.DataFrame) -> float:
    """Return the mean distance of confidence and accuracy over the bins, weighted by count."""
    distance = (table["confidence"] - table["accuracy"]).abs()
    return float(np.average(distance, weights=table["count"]))
