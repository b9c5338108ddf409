"""The file that a killed training resumes from: what it holds, whose it is, and when it goes."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipeline.common.shell import UserError
from pipeline.training import checkpoint as module
from pipeline.training.checkpoint import Checkpoint, fingerprint

import keras

Patch = pytest.MonkeyPatch
VARIABLES = [
    keras.Variable(np.arange(6.0).reshape(2, 3), dtype="float32"),
    keras.Variable(7, dtype="int64", trainable=False),
]
HISTORY = [{"epoch": 1, "loss": 0.1 + 0.2, "accuracy": 1 / 3}, {"epoch": 2, "loss": 1e-30}]
SETTINGS = [0, {"rate": 1.0, "epochs": 2}]
pytestmark = pytest.mark.usefixtures("folder")


def test_a_checkpoint_holds_variables_and_history() -> None:
    before = [*map(np.array, VARIABLES)]
    Checkpoint(SETTINGS).save(VARIABLES, HISTORY)
    for variable in VARIABLES:
        variable.assign(variable + 1)
    assert Checkpoint(SETTINGS).restore(VARIABLES) == HISTORY
    np.testing.assert_equal(VARIABLES, before)
    assert Checkpoint([1]).restore(VARIABLES) == []


def test_what_cannot_be_read_starts_anew(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing of it is taken, and the next epoch replaces it."""
    checkpoint = Checkpoint(SETTINGS)
    checkpoint.save(VARIABLES[:1], HISTORY)
    VARIABLES[0].assign(VARIABLES[0] + 1)
    before = [*map(np.array, VARIABLES)]
    for content in (checkpoint.path.read_bytes(), b"PK\3\4"):
        checkpoint.path.write_bytes(content)
        assert checkpoint.restore(VARIABLES) == []
        np.testing.assert_equal(VARIABLES, before)
        assert capsys.readouterr().out.startswith(f"starting anew: {checkpoint.path.name} ")
    checkpoint.save(VARIABLES, HISTORY)
    assert checkpoint.restore(VARIABLES) == HISTORY


@pytest.mark.parametrize("place", [".dvc/tmp/exps/standalone/tmp1a2b", ".dvc/tmp/exps/a"])
def test_checkpoints_of_experiments(folder: Path, monkeypatch: Patch, place: str) -> None:
    """They lie in the repository, where the workspace finds them too, but leaves others alone."""
    (folder / place).mkdir(parents=True)
    monkeypatch.chdir(folder / place)
    checkpoint = Checkpoint(SETTINGS)
    assert checkpoint.path.parent == folder / ".dvc/tmp/checkpoints"
    checkpoint.save(VARIABLES, HISTORY)
    Checkpoint([1]).save(VARIABLES, HISTORY)
    monkeypatch.chdir(folder)
    assert Checkpoint(SETTINGS).restore(VARIABLES) == HISTORY
    assert len([*checkpoint.folder.glob("experiment-*")]) == 2


def test_the_workspace_drops_what_other_trainings_left(capsys: pytest.CaptureFixture[str]) -> None:
    other = Checkpoint([1])
    other.save(VARIABLES, HISTORY)
    shutil.copy(other.path, other.folder / f".unfinished-{other.path.name}")
    Checkpoint(SETTINGS)
    assert os.listdir(other.folder) == ["workspace.owner"]
    assert other.path.name in capsys.readouterr().out


def test_a_newer_training_takes_over() -> None:
    checkpoint = Checkpoint(SETTINGS)
    checkpoint.save(VARIABLES, HISTORY)
    content = checkpoint.path.read_bytes()
    (checkpoint.folder / "workspace.owner").write_text(f"{os.getpid() + 1}")
    with pytest.raises(UserError, check=lambda error: error.exit_code == 1):
        checkpoint.save(VARIABLES, [])
    assert checkpoint.path.read_bytes() == content


def test_a_finished_training_leaves_nothing_unless_dvc_was_killed(monkeypatch: Patch) -> None:
    checkpoint = Checkpoint(SETTINGS)
    checkpoint.save(VARIABLES, HISTORY)
    with monkeypatch.context() as adopted:
        adopted.setattr(os, "getppid", lambda: 0)
        checkpoint.remove()
    assert os.listdir(checkpoint.folder) == [checkpoint.path.name]
    checkpoint.remove()
    assert os.listdir(checkpoint.folder) == []


def test_a_checkpoint_is_on_disk_before_its_name(monkeypatch: Patch) -> None:
    """So the old or the new one is there after a loss of power. Not all folders can promise it."""
    checkpoint = Checkpoint(SETTINGS)
    checkpoint.path.write_bytes(b"old")
    synchronized = []

    def fsync(descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        synchronized.append((path.name, checkpoint.path.read_bytes() == b"old"))
        if path.is_dir():
            raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "fsync", fsync)
    checkpoint.save(VARIABLES, HISTORY)
    assert synchronized == [(f".unfinished-{checkpoint.path.name}", True), ("checkpoints", False)]
    assert checkpoint.restore(VARIABLES) == HISTORY


def test_the_fingerprint_is_of_settings_and_data() -> None:
    zeros, dot = np.zeros((2, 30, 50))
    dot[15, 25] = 1
    given = [(zeros, zeros), (zeros, dot), (dot, zeros), (zeros.ravel(), zeros)]
    found = {fingerprint({"rate": rate}, *arrays) for rate in (1, 2) for arrays in given}
    assert len(found) == 8
    one, other = {"a": 1, "b": 2}, {"b": 2, "a": 1}
    assert fingerprint(one, dot) == fingerprint(other, np.asfortranarray(dot))


def test_the_fingerprint_is_of_the_code(tmp_path: Path, monkeypatch: Patch) -> None:
    """Of all that a training may import, without what editors and merges leave beside it."""
    for name in ("pipeline", "stages"):
        shutil.copytree(module.ROOT / name, tmp_path / name)
    before = fingerprint(SETTINGS)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    assert fingerprint(SETTINGS) == before
    for name in ("pipeline/._gelu.py", "pipeline/gelu_BASE_12.py", "stages/plots.py"):
        (tmp_path / name).write_text("x = 1")
    # By which Emacs locks a file.
    (tmp_path / "pipeline/layers/.#gelu.py").symlink_to("user@host.123:456")
    assert fingerprint(SETTINGS) == before
    found = {before}
    for name in ("stages/train.py", "pipeline/layers/gelu.py", "pipeline/layers/new.py"):
        (tmp_path / name).write_text("")
        found.add(fingerprint(SETTINGS))
    assert len(found) == 4
