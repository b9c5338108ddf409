"""The file that a killed training goes on from: what it holds, and how it gets to disk."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from stages import device as device  # First, since TensorFlow reads what it sets.
from stages.errors import InputError
from stages.models.tutorial import Tutorial
from stages.train.checkpoint import Checkpoint
from stages.train.recipes import Training
from tests.unit.disk import leave_free
from tests.unit.reader import read_output
from tests.unit.tiny_recipes import IMAGES

import keras  # isort: skip

ROWS = [{"epoch": 1, "loss": 0.1 + 0.2, "accuracy": 1 / 3}, {"epoch": 2, "loss": 1e-30}]


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkpoint:
    """Return the place of a checkpoint in an empty folder."""
    monkeypatch.chdir(tmp_path)
    checkpoint = Checkpoint("0123")
    checkpoint.claim()
    return checkpoint


def tiny_training(seed: int) -> Training:
    keras.utils.set_random_seed(seed)
    network = Tutorial.model_validate({"name": "tutorial", "filters": [2, 2, 2], "dense_units": 4})
    model = network.build(IMAGES, np.random.default_rng(seed), on_cpu=False)
    return Training(model, keras.optimizers.RMSprop(), keras.losses.CategoricalCrossentropy(), [])


@pytest.fixture(scope="module")
def trainings() -> tuple[Training, Training]:
    """Return two trainings of the same network, of other weights."""
    return tiny_training(0), tiny_training(1)


def values(training: Training) -> list[np.ndarray]:
    return [variable.numpy() for variable in training.state]


def test_a_checkpoint_holds_the_whole_state(
    checkpoint: Checkpoint, trainings: tuple[Training, Training]
) -> None:
    saved, restored = trainings
    for variable in saved.state:
        variable.assign(variable + 1)
    rows = [{"epoch": 1, "loss": 0.1 + 0.2, "accuracy": 1 / 3}]
    checkpoint.save(saved, rows)
    assert checkpoint.restore(restored) == rows
    paths = [variable.path for variable in restored.state]
    assert len([path for path in paths if "seed_generator" in path]) == 4
    assert len([path for path in paths if path.startswith("rm_sprop")]) == 2 + 17
    for found, expected in zip(restored.state, saved.state, strict=True):
        np.testing.assert_array_equal(found.numpy(), expected.numpy(), strict=True)


def test_a_checkpoint_is_an_archive_of_arrays(
    checkpoint: Checkpoint, trainings: tuple[Training, Training]
) -> None:
    checkpoint.save(trainings[0], ROWS)
    with np.load(checkpoint.path, allow_pickle=False) as file:
        assert json.loads(file["history"].item()) == ROWS
        expected = values(trainings[0])
        assert len(expected) > 10
        assert [*file] == ["history", *(f"{number:04}" for number in range(len(expected)))]
        for number, value in enumerate(expected):
            np.testing.assert_array_equal(file[f"{number:04}"], value, strict=True)


def test_going_on_is_told(
    checkpoint: Checkpoint, trainings: tuple[Training, Training], monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint.save(trainings[0], ROWS)
    pipe = read_output(monkeypatch)
    assert checkpoint.restore(trainings[1]) == ROWS
    assert pipe.arrived == "going on after epoch 2, from workspace-0123.npz\n"


def test_without_a_checkpoint_nothing_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trainings: tuple[Training, Training]
) -> None:
    monkeypatch.chdir(tmp_path)
    before = values(trainings[0])
    pipe = read_output(monkeypatch)
    assert Checkpoint("0123").restore(trainings[0]) == []
    assert pipe.getvalue() == ""
    np.testing.assert_equal(values(trainings[0]), before)
    assert [*tmp_path.iterdir()] == []


def test_a_checkpoint_is_on_disk_before_its_name_and_its_name_before_more(
    checkpoint: Checkpoint, trainings: tuple[Training, Training], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the old or the new one is there after a loss of power."""
    checkpoint.path.write_bytes(b"old")
    synchronized = []

    def fsync(descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        content = None if path.is_dir() else path.read_bytes()
        synchronized.append((descriptor, path, content, checkpoint.path.read_bytes()))

    monkeypatch.setattr(os, "fsync", fsync)
    checkpoint.save(trainings[0], ROWS)
    new = checkpoint.path.read_bytes()
    unfinished = checkpoint.folder / ".unfinished-workspace-0123.npz"
    assert [entry[1:] for entry in synchronized] == [
        (unfinished, new, b"old"),
        (checkpoint.folder, None, new),
    ]
    for descriptor, *_ in synchronized:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)
    assert sorted(checkpoint.folder.iterdir()) == [checkpoint.path, checkpoint.owner]


def test_a_disk_that_fails_leaves_no_open_file(
    checkpoint: Checkpoint, trainings: tuple[Training, Training], monkeypatch: pytest.MonkeyPatch
) -> None:
    descriptors = []

    def fsync(descriptor: int) -> None:
        descriptors.append(descriptor)
        if len(descriptors) == 2:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="Input/output error"):
        checkpoint.save(trainings[0], ROWS)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptors[1])


def test_the_room_needed_is_that_of_the_state(
    checkpoint: Checkpoint, trainings: tuple[Training, Training], monkeypatch: pytest.MonkeyPatch
) -> None:
    size = sum(value.size * value.itemsize for value in values(trainings[0]))
    leave_free(monkeypatch, size)
    checkpoint.save(trainings[0], ROWS)
    old = checkpoint.path.read_bytes()
    leave_free(monkeypatch, size - 1)
    with pytest.raises(InputError) as caught:
        checkpoint.save(trainings[0], [])
    assert str(caught.value) == (
        f"{checkpoint.path}: {size:,} bytes or more needed, {size - 1:,} free on its disk"
    )
    assert checkpoint.path.read_bytes() == old
