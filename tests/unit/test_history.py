"""What follows from the rows of the history: the best epoch, and whether it is time to stop."""

import pytest

from stages.train.history import Row, best, has_stalled


def rows(*accuracies: float) -> list[Row]:
    return [
        {"epoch": epoch, "val_accuracy": accuracy, "accuracy": 1 / epoch, "val_loss": epoch}
        for epoch, accuracy in enumerate(accuracies, start=1)
    ]


@pytest.mark.parametrize(
    ("accuracies", "epoch"),
    [
        ([0.1], 1),
        ([0.1, 0.3, 0.2], 2),
        ([0.1, 0.2, 0.3], 3),
        ([0.3, 0.2, 0.3], 1),
        ([0.1, 0.3, 0.3, 0.2, 0.3], 2),
        ([0.0, 0.0], 1),
    ],
)
def test_the_best_is_the_first_of_the_highest_validation_accuracy(
    accuracies: list[float], epoch: int
) -> None:
    history = rows(*accuracies)
    assert best(history) is history[epoch - 1]


# After how many of these epochs a training with some patience stops.
ACCURACIES = [0.2, 0.4, 0.3, 0.4, 0.1, 0.5, 0.5, 0.4, 0.3]


@pytest.mark.parametrize(
    ("patience", "stalled_after"),
    [
        (0, []),
        (1, [3, 4, 5, 7, 8, 9]),
        (2, [4, 5, 8, 9]),
        (3, [5, 9]),
        (4, []),
        (100, []),
    ],
)
def test_a_training_has_stalled_after_its_patience(patience: int, stalled_after: list[int]) -> None:
    """As long as none of the last epochs was better than all before."""
    found = [n for n in range(10) if has_stalled(rows(*ACCURACIES[:n]), patience)]
    assert found == stalled_after


def test_without_validation_nothing_stalls() -> None:
    """Of such rows the best one is not known."""
    assert not has_stalled([{"epoch": 1, "loss": 0.5}] * 3, 0)
