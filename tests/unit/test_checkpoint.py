"""The file that a killed training resumes from: what it holds, whose it is, and when it goes."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.common.shell import UserError
from pipeline.training import checkpoint as module
from pipeline.training.checkpoint import Checkpoint, fingerprint

import keras

Captured = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch
Variables = list[keras.Variable]
HISTORY = [{"epoch": 1, "loss": 0.1 + 0.2, "accuracy": 1 / 3}, {"epoch": 2, "loss": 1e-30}]
SETTINGS = [0, {"rate": 1.0, "epochs": 2}]
pytestmark = pytest.mark.usefixtures("folder")


@pytest.fixture
def variables() -> Variables:
    return [
        keras.Variable(np.arange(6.0).reshape(2, 3), dtype="float32"),
        keras.Variable(7, dtype="int64", trainable=False),
    ]


def test_a_checkpoint_holds_variables_and_history(variables: Variables) -> None:
    before = [*map(np.array, variables)]
    Checkpoint(SETTINGS).save(variables, HISTORY)
    for variable in variables:
        variable.assign(variable + 1)
    assert Checkpoint(SETTINGS).restore(variables) == HISTORY
    np.testing.assert_equal(variables, before)
    assert Checkpoint([1]).restore(variables) == []


@pytest.mark.parametrize("damage", ["cut", "fewer", "folder"])
def test_what_cannot_be_read_starts_anew(
    variables: Variables, capsys: Captured, damage: str
) -> None:
    """Nothing of it is taken, and the next epoch replaces it."""
    checkpoint = Checkpoint(SETTINGS)
    checkpoint.save(variables[:1] if damage == "fewer" else variables, HISTORY)
    if damage == "cut":
        checkpoint.path.write_bytes(checkpoint.path.read_bytes()[:-100])
    if damage == "folder":
        checkpoint.path.unlink()
        checkpoint.path.mkdir()
    before = [*map(np.array, variables)]
    assert checkpoint.restore(variables) == []
    np.testing.assert_equal(variables, before)
    assert capsys.readouterr().out.startswith(f"starting anew: {checkpoint.path.name} ")
    if damage != "folder":
        checkpoint.save(variables, HISTORY)
        assert checkpoint.restore(variables) == HISTORY


@pytest.mark.parametrize("place", [".dvc/tmp/exps/standalone/tmp1a2b", ".dvc/tmp/exps/a"])
def test_checkpoints_of_experiments_lie_in_the_repository(
    folder: Path, monkeypatch: Patch, variables: Variables, place: str
) -> None:
    """Where the workspace finds them too, but leaves others alone."""
    (folder / place).mkdir(parents=True)
    monkeypatch.chdir(folder / place)
    checkpoint = Checkpoint(SETTINGS)
    assert checkpoint.path.parent == folder / ".dvc/tmp/checkpoints"
    checkpoint.save(variables, HISTORY)
    Checkpoint([1]).save(variables, HISTORY)
    monkeypatch.chdir(folder)
    assert Checkpoint(SETTINGS).restore(variables) == HISTORY
    assert len([*checkpoint.folder.glob("experiment-*")]) == 2


def test_the_workspace_drops_what_other_trainings_left(
    variables: Variables, capsys: Captured
) -> None:
    other = Checkpoint([1])
    other.save(variables, HISTORY)
    shutil.copy(other.path, other.folder / f".unfinished-{other.path.name}")
    Checkpoint(SETTINGS)
    assert os.listdir(other.folder) == ["workspace.owner"]
    assert other.path.name in capsys.readouterr().out


def test_a_newer_training_takes_over(variables: Variables) -> None:
    checkpoint = Checkpoint(SETTINGS)
    checkpoint.save(variables, HISTORY)
    content = checkpoint.path.read_bytes()
    (checkpoint.folder / "workspace.owner").write_text(f"{os.getpid() + 1}")
    with pytest.raises(UserError) as caught:
        checkpoint.save(variables, [])
    assert caught.value.exit_code == 1
    assert checkpoint.path.read_bytes() == content


@pytest.mark.parametrize("dvc_is_there", [True, False])
def test_a_finished_training_leaves_nothing_unless_dvc_was_killed(
    monkeypatch: Patch, variables: Variables, dvc_is_there: bool
) -> None:
    monkeypatch.setattr(os, "getppid", lambda: 1000)
    checkpoint = Checkpoint(SETTINGS)
    checkpoint.save(variables, HISTORY)
    monkeypatch.setattr(os, "getppid", lambda: 1000 if dvc_is_there else 1)
    checkpoint.remove()
    assert os.listdir(checkpoint.folder) == ([] if dvc_is_there else [checkpoint.path.name])


def test_a_checkpoint_is_on_disk_before_its_name(monkeypatch: Patch, variables: Variables) -> None:
    """So the old or the new one is there after a loss of power. Not all folders can promise it."""
    checkpoint = Checkpoint(SETTINGS)
    checkpoint.path.write_bytes(b"old")
    synchronized = []

    def fsync(descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        synchronized.append((path, checkpoint.path.read_bytes() == b"old"))
        if path.is_dir():
            raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "fsync", fsync)
    checkpoint.save(variables, HISTORY)
    unfinished = checkpoint.folder / f".unfinished-{checkpoint.path.name}"
    assert synchronized == [(unfinished, True), (checkpoint.folder, False)]
    assert checkpoint.restore(variables) == HISTORY


def test_the_fingerprint_is_of_settings_and_data() -> None:
    zeros, dot = np.zeros((2, 30, 50))
    dot[15, 25] = 1
    given: list[Any] = [
        *(([seed, {"rate": rate}], zeros) for seed in (0, 1) for rate in (1.0, 2.0)),
        *(([], one, other) for one in (zeros, dot, zeros.ravel()) for other in (zeros, dot)),
    ]
    assert len({fingerprint(*each) for each in given}) == len(given)
    one, other = {"a": 1, "b": 2}, {"b": 2, "a": 1}
    array = np.arange(6).reshape(2, 3)
    assert fingerprint(one, array) == fingerprint(other, np.asfortranarray(array))


def test_the_fingerprint_is_of_the_code(tmp_path: Path, monkeypatch: Patch) -> None:
    """Of all that a training may import, without what editors and merges leave beside it."""
    for name in ("pipeline", "stages"):
        shutil.copytree(module.ROOT / name, tmp_path / name)
    before = fingerprint(SETTINGS)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    assert fingerprint(SETTINGS) == before
    for name in ("._gelu.py", "gelu_BASE_12.py", "gelu.pyc"):
        (tmp_path / "pipeline/layers" / name).write_text("x = 1")
    # By which Emacs locks a file.
    (tmp_path / "pipeline/layers/.#gelu.py").symlink_to("user@host.123:456")
    (tmp_path / "stages/plots.py").write_text("x = 1")
    assert fingerprint(SETTINGS) == before
    found = {before}
    for name in ("stages/train.py", "pipeline/layers/gelu.py", "pipeline/layers/new.py"):
        with (tmp_path / name).open("a") as file:
            file.write("\n")
        found.add(fingerprint(SETTINGS))
    assert len(found) == 4
