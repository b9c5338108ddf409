"""Checkpoints that cannot be gone on from: dropped whole, with a line that says why."""

import errno
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stages import device as device  # First, since TensorFlow reads what it sets.
from stages.errors import InputError
from stages.train.checkpoint import Checkpoint
from stages.train.recipes import Training
from tests.unit.reader import read_output

import keras  # isort: skip

UNREADABLE = "dropped a checkpoint that cannot be read"


@pytest.fixture
def checkpoint(folder: Path) -> Checkpoint:
    """Return the place of a checkpoint in an empty folder."""
    checkpoint = Checkpoint("0123")
    checkpoint.claim()
    return checkpoint


def dense_training(units: int, inputs: int = 5) -> Training:
    model = keras.Sequential([keras.Input((inputs,)), keras.layers.Dense(units)])
    optimizer = keras.optimizers.RMSprop()
    return Training(model, optimizer, keras.losses.CategoricalCrossentropy(), [])


@pytest.fixture(scope="module")
def saved() -> Training:
    return dense_training(3)


@pytest.fixture(scope="module")
def training() -> Training:
    """Return a training of the same network, of other weights."""
    return dense_training(3)


def write(checkpoint: Checkpoint, training: Training, history: str, **changed: np.ndarray) -> None:
    """Write a checkpoint of a training, but for its history and some of its arrays."""
    values = {f"{number:04}": v.numpy() for number, v in enumerate(training.state)}
    np.savez(checkpoint.path, allow_pickle=False, history=np.array(history), **(values | changed))


def why_dropped(patch: pytest.MonkeyPatch, checkpoint: Checkpoint, training: Training) -> str:
    """Assert that a training goes on from nothing and nothing is left, and return the reason."""
    pipe = read_output(patch)
    before = [variable.numpy() for variable in training.state]
    assert checkpoint.restore(training) == []
    assert [*checkpoint.folder.iterdir()] == [checkpoint.owner]
    for variable, value in zip(training.state, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
    line = re.fullmatch(f"{UNREADABLE} [(](.+)[)]: workspace-0123.npz\n", pipe.arrived)
    assert line
    return line[1]


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_checkpoint_is_dropped(
    checkpoint: Checkpoint,
    saved: Training,
    training: Training,
    monkeypatch: pytest.MonkeyPatch,
    damage: str,
) -> None:
    checkpoint.save(saved, [{"epoch": 1}])
    content = checkpoint.path.read_bytes()
    middle = content.index(saved.state[0].numpy().tobytes())
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    damaged = {"cut": content[:middle], "flipped": flipped, "empty": b""}[damage]
    checkpoint.path.write_bytes(damaged)
    assert why_dropped(monkeypatch, checkpoint, training)


@pytest.mark.parametrize("field", [6, 8, 10, 20, 24, 28])
def test_no_flipped_bit_in_an_archive_ends_the_next_training(
    checkpoint: Checkpoint, training: Training, field: int
) -> None:
    """Of a zip archive's list of files, where it tells version, flags, compression and sizes."""
    checkpoint.save(training, [{"epoch": 1}])
    content = checkpoint.path.read_bytes()
    place = content.index(b"PK\x01\x02") + field
    for bit in range(16):
        flipped = bytearray(content)
        flipped[place + bit // 8] ^= 1 << bit % 8
        checkpoint.path.write_bytes(flipped)
        rows = checkpoint.restore(training)
        assert rows == [{"epoch": 1}] if checkpoint.path.exists() else rows == []


OTHERS: dict[str, Callable[[Training], dict[str, np.ndarray]]] = {
    "shape of the first": lambda saved: {"0000": np.zeros((3, 5), np.float32)},
    "shape of the last": lambda saved: {f"{len(saved.state) - 1:04}": np.zeros(4, np.float32)},
    "type": lambda saved: {"0001": np.zeros(3, np.float64)},
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_checkpoint_of_other_shapes_is_dropped(
    checkpoint: Checkpoint,
    saved: Training,
    training: Training,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    write(checkpoint, saved, '[{"epoch": 1}]', **OTHERS[name](saved))
    why = why_dropped(monkeypatch, checkpoint, training)
    assert why == "its arrays are of other shapes or types"


def test_a_checkpoint_of_another_network_is_dropped(
    checkpoint: Checkpoint, saved: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint.save(saved, [{"epoch": 1}])
    why = why_dropped(monkeypatch, checkpoint, dense_training(4))
    assert why == "its arrays are of other shapes or types"


@pytest.mark.parametrize(
    "rows",
    ["{}", '[{"epoch": 2}]', '[{"epoch": 1}, {"epoch": 1}]', '[{"epoch": 0}]', '{"epoch": 1}'],
)
def test_a_checkpoint_of_another_history_is_dropped(
    checkpoint: Checkpoint,
    saved: Training,
    training: Training,
    monkeypatch: pytest.MonkeyPatch,
    rows: str,
) -> None:
    write(checkpoint, saved, rows)
    why = why_dropped(monkeypatch, checkpoint, training)
    assert why == "its history is not one of epochs"


@pytest.mark.parametrize("rows", ["5", "[1]", "[{}]", "", "[", "null"])
def test_a_checkpoint_of_no_history_is_dropped(
    checkpoint: Checkpoint,
    saved: Training,
    training: Training,
    monkeypatch: pytest.MonkeyPatch,
    rows: str,
) -> None:
    write(checkpoint, saved, rows)
    assert why_dropped(monkeypatch, checkpoint, training)


def test_a_checkpoint_without_one_of_its_arrays_is_dropped(
    checkpoint: Checkpoint, saved: Training, training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {f"{number:04}": v.numpy() for number, v in enumerate(saved.state)}
    values.popitem()
    np.savez(checkpoint.path, allow_pickle=False, history=np.array('[{"epoch": 1}]'), **values)
    assert why_dropped(monkeypatch, checkpoint, training)


def test_a_checkpoint_that_two_processes_drop_is_dropped(
    checkpoint: Checkpoint, training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint.path.touch()

    def load(*_: object, **__: object) -> None:
        checkpoint.path.unlink()
        raise ValueError("cut")

    monkeypatch.setattr(np, "load", load)
    assert why_dropped(monkeypatch, checkpoint, training) == "cut"


def test_a_pickle_does_not_run(
    checkpoint: Checkpoint, training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It calls os.mkdir where it is read."""
    checkpoint.path.write_bytes(b"cos\nmkdir\n(S'made'\ntR.")
    assert why_dropped(monkeypatch, checkpoint, training)
    assert not Path("made").exists()


def test_where_one_of_two_is_damaged_the_other_is_gone_on_from(
    checkpoint: Checkpoint, saved: Training, training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint.save(saved, [{"epoch": 1}])
    (checkpoint.folder / "experiment-0123.npz").write_bytes(b"")
    pipe = read_output(monkeypatch)
    assert checkpoint.restore(training) == [{"epoch": 1}]
    assert pipe.arrived == (
        f"{UNREADABLE} (No data left in file): experiment-0123.npz\n"
        "going on after epoch 1, from workspace-0123.npz\n"
    )


def test_a_checkpoint_that_another_process_has_just_removed_is_none(
    checkpoint: Checkpoint, training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint.path.symlink_to("nowhere")
    pipe = read_output(monkeypatch)
    assert checkpoint.restore(training) == []
    assert pipe.getvalue() == ""


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO, errno.ESTALE])
def test_a_checkpoint_that_cannot_be_read_now_stays(
    checkpoint: Checkpoint,
    saved: Training,
    training: Training,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
) -> None:
    """It is another user's, or a network's disk is away; hours of training may be in it."""
    checkpoint.save(saved, [{"epoch": 1}])

    def fail(path: Path) -> bytes:
        raise OSError(code, "not now")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", fail)
        with pytest.raises(InputError) as refused:
            checkpoint.restore(training)
    assert str(refused.value) == f"{checkpoint.path}: not now"
    assert checkpoint.restore(training) == [{"epoch": 1}]
