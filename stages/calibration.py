"""How far a classifier's confidence is from its accuracy.

Guo et al., "On Calibration of Modern Neural Networks", 2017, arXiv 1706.04599.
"""

import numpy as np
import pandas as pd


def calibration(confidence: np.ndarray, correct: np.ndarray, bins: int) -> pd.DataFrame:
    """Return a row for each of `bins` equal bins of confidence in (0, 1] that holds a prediction.

    Args:
        confidence: probability of the predicted class, float (n,) in (0, 1].
        correct: whether the prediction is right, bool (n,).
        bins: how many.

    Returns:
        Columns confidence and accuracy, both means over the bin, and count.
    """
    number = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    table = pd.DataFrame({"confidence": confidence, "accuracy": correct, "number": number})
    rows = table.groupby("number").agg(
        confidence=("confidence", "mean"), accuracy=("accuracy", "mean"), count=("accuracy", "size")
    )
    return rows.reset_index(drop=True)


def expected_calibration_error(rows: pd.DataFrame) -> float:
    """Return the mean distance of confidence and accuracy over the bins, weighted by count."""
    distance = (rows["confidence"] - rows["accuracy"]).abs()
    return float(np.average(distance, weights=rows["count"]))
