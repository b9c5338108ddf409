"""What is known of each finished epoch, and what follows from it."""

from collections.abc import Sequence

# Names and values of an epoch: a row of plots/history.csv.
Row = dict[str, float]


def best(rows: Sequence[Row]) -> Row:
    """Return the row of the highest validation accuracy, the first one of several."""
    return max(rows, key=lambda row: row["val_accuracy"])


def has_stalled(rows: Sequence[Row], patience: int) -> bool:
    """Say whether none of the last `patience` epochs was the best so far; never if it is 0."""
    return 0 < patience < len(rows) and len(rows) - best(rows)["epoch"] >= patience
