"""A training that outlives the `dvc` that started it."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.project import SLOW_EPOCHS, Process, folder_to_train, start, succeed, wait_for
from tests.test_resume import CHECKPOINTS, TRAIN, checkpoints, going_on, hashes


@pytest.fixture
def folder(slow: Path, tmp_path: Path) -> Path:
    """Return a folder in which the same can be trained as in `slow`."""
    return folder_to_train(slow, tmp_path, "tutorial")


@pytest.fixture
def abandoned(folder: Path) -> Iterator[tuple[Process, int]]:
    """Return what started a training and was killed, and the training's number, which waits."""
    with start(("sh", "-c", f"'{TRAIN[0]}' -m stages.train; exit"), folder) as process:
        # What an epoch writes last.
        wait_for((folder / "metrics/train.json").exists, process)
        training = int((folder / CHECKPOINTS / "workspace.owner").read_text())
        os.kill(training, signal.SIGSTOP)
        assert process.pid != training
        process.kill()
        process.wait()
        yield process, training


def test_the_next_training_takes_over_from_an_abandoned_one(
    folder: Path, slow: Path, abandoned: tuple[Process, int]
) -> None:
    process, training = abandoned
    (epoch,) = going_on(succeed("train", folder))
    os.kill(training, signal.SIGCONT)
    _, errors = process.communicate()  # Until all that it started have ended.
    assert errors == "error: a newer training has begun in this folder and takes its place\n"
    assert 1 <= epoch < SLOW_EPOCHS
    assert hashes(folder) == hashes(slow)
    assert not checkpoints(folder)


def test_what_an_abandoned_training_finished_is_not_trained_again(
    folder: Path, slow: Path, abandoned: tuple[Process, int]
) -> None:
    process, training = abandoned
    os.kill(training, signal.SIGCONT)
    output, _ = process.communicate()
    assert "trained for" in output
    assert [*going_on(succeed("train", folder))] == [SLOW_EPOCHS]
    assert hashes(folder) == hashes(slow)
    assert not checkpoints(folder)
