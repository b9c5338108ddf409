"""Where checkpoints lie, whose they are and which are dropped."""

import os
import shutil
from pathlib import Path

import pytest

from stages import device as device  # First, since TensorFlow reads what it sets.
from stages.errors import TrainingError
from stages.train.checkpoint import Checkpoint
from stages.train.recipes import Training
from tests.unit.reader import read_output

import keras  # isort: skip

EXPERIMENT = ".dvc/tmp/exps/standalone/tmp1a2b"
DROPPED = "dropped a checkpoint of other parameters, data, code or versions"
ROWS = [{"epoch": 1, "loss": 2.5}]


@pytest.fixture(scope="module")
def training() -> Training:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    return Training(model, keras.optimizers.SGD(), keras.losses.CategoricalCrossentropy(), [])


@pytest.fixture
def workspace(folder: Path) -> Checkpoint:
    """Return the place of a checkpoint of the workspace, claimed."""
    checkpoint = Checkpoint("0123")
    checkpoint.claim()
    return checkpoint


@pytest.fixture
def experiment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Checkpoint:
    """Return the place of a checkpoint of an experiment in a folder of its own."""
    (folder / EXPERIMENT).mkdir(parents=True)
    monkeypatch.chdir(folder / EXPERIMENT)
    return Checkpoint("0123")


def names(checkpoint: Checkpoint) -> list[str]:
    return sorted(path.name for path in checkpoint.folder.iterdir())


def test_checkpoints_of_the_workspace_lie_in_the_repository(folder: Path) -> None:
    checkpoint = Checkpoint("0123")
    assert checkpoint.path == folder / ".dvc/tmp/checkpoints/workspace-0123.npz"
    assert [*folder.iterdir()] == []


@pytest.mark.parametrize("place", [EXPERIMENT, ".dvc/tmp/exps/a", ".dvc/tmp/exps/a/b/c"])
def test_checkpoints_of_experiments_lie_in_the_repository_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    (folder / place).mkdir(parents=True)
    monkeypatch.chdir(folder / place)
    expected = folder / ".dvc/tmp/checkpoints/experiment-0123.npz"
    assert Checkpoint("0123").path == expected


@pytest.mark.parametrize("place", [".dvc/tmp/other/a", "exps/a", "tmp/exps/a"])
def test_other_folders_are_workspaces(
    folder: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    (folder / place).mkdir(parents=True)
    monkeypatch.chdir(folder / place)
    expected = folder / place / ".dvc/tmp/checkpoints/workspace-0123.npz"
    assert Checkpoint("0123").path == expected


def test_a_claim_names_the_process(folder: Path) -> None:
    checkpoint = Checkpoint("0123")
    assert not checkpoint.is_ours()
    checkpoint.claim()
    assert names(checkpoint) == ["workspace.owner"]
    assert (checkpoint.folder / "workspace.owner").read_bytes() == b"%d" % os.getpid()
    assert checkpoint.is_ours()
    # Of other settings, in the same folder.
    assert Checkpoint("4567").is_ours()


def test_a_newer_training_takes_the_place_of_an_older_one(
    workspace: Checkpoint, training: Training
) -> None:
    workspace.save(training, ROWS)
    content = workspace.path.read_bytes()
    (workspace.folder / "workspace.owner").write_text(f"{os.getpid() + 1}")
    assert not workspace.is_ours()
    with pytest.raises(TrainingError) as caught:
        workspace.save(training, [])
    assert str(caught.value) == "a newer training has begun in this folder and takes its place"
    assert workspace.path.read_bytes() == content
    assert names(workspace) == ["workspace-0123.npz", "workspace.owner"]


def test_experiments_are_alone_in_their_folder(experiment: Checkpoint, training: Training) -> None:
    experiment.claim()
    assert not experiment.folder.exists()
    assert experiment.is_ours()
    experiment.save(training, ROWS)
    (experiment.folder / "experiment.owner").write_text("1")
    assert experiment.is_ours()
    assert names(experiment) == ["experiment-0123.npz", "experiment.owner"]


def test_a_finished_training_leaves_nothing(workspace: Checkpoint, training: Training) -> None:
    workspace.remove()
    assert names(workspace) == []
    workspace.claim()
    workspace.save(training, ROWS)
    workspace.remove()
    assert names(workspace) == []


def test_a_finished_experiment_leaves_nothing(experiment: Checkpoint, training: Training) -> None:
    experiment.claim()
    experiment.save(training, ROWS)
    experiment.remove()
    assert names(experiment) == []


def test_the_checkpoint_stays_where_dvc_has_been_killed(
    folder: Path, training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getppid", lambda: 1000)
    checkpoint = Checkpoint("0123")
    checkpoint.claim()
    checkpoint.save(training, ROWS)
    monkeypatch.setattr(os, "getppid", lambda: 1)
    checkpoint.remove()
    assert names(checkpoint) == ["workspace-0123.npz"]


def fill(checkpoint: Checkpoint, training: Training) -> None:
    """Leave checkpoints and half-written ones of this and of other settings."""
    checkpoint.claim()
    checkpoint.save(training, ROWS)
    for kind in ("workspace", "experiment"):
        for fingerprint in ("0123", "4567", "89ab"):
            for name in (f"{kind}-{fingerprint}.npz", f".unfinished-{kind}-{fingerprint}.npz"):
                if checkpoint.path.name != name:
                    shutil.copy(checkpoint.path, checkpoint.folder / name)
    (checkpoint.folder / "workspace.owner").unlink(missing_ok=True)


def test_the_workspace_drops_what_is_its_own(
    workspace: Checkpoint, training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(workspace, training)
    pipe = read_output(monkeypatch)
    assert Checkpoint("cdef").restore(training) == []
    assert pipe.arrived == "".join(
        f"{DROPPED}: workspace-{fingerprint}.npz\n" for fingerprint in ("0123", "4567", "89ab")
    )
    experiments = [f"experiment-{fingerprint}.npz" for fingerprint in ("0123", "4567", "89ab")]
    assert names(workspace) == sorted([*(f".unfinished-{n}" for n in experiments), *experiments])


def test_a_half_written_one_that_two_processes_drop_is_dropped(
    workspace: Checkpoint, training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    half_written = workspace.folder / ".unfinished-workspace-0123.npz"
    half_written.touch()
    unlink = Path.unlink

    def unlink_later(path: Path, missing_ok: bool = False) -> None:
        # The other process is first.
        if half_written.exists():
            unlink(half_written)
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink_later)
    assert workspace.restore(training) == []
    assert names(workspace) == ["workspace.owner"]


def test_an_experiment_drops_what_is_half_written_of_the_same_settings(
    experiment: Checkpoint, training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(experiment, training)
    before = names(experiment)
    pipe = read_output(monkeypatch)
    assert experiment.restore(training) == ROWS
    assert pipe.arrived == "going on after epoch 1, from experiment-0123.npz\n"
    assert {*before} - {*names(experiment)} == {".unfinished-experiment-0123.npz"}


def test_a_workspace_goes_on_from_an_experiment_of_the_same_settings(
    workspace: Checkpoint, training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.save(training, ROWS)
    workspace.path.rename(workspace.folder / "experiment-0123.npz")
    pipe = read_output(monkeypatch)
    assert workspace.restore(training) == ROWS
    assert pipe.arrived == "going on after epoch 1, from experiment-0123.npz\n"


def test_one_checkpoint_is_read_where_there_are_two(
    workspace: Checkpoint, training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.save(training, ROWS)
    shutil.copy(workspace.path, workspace.folder / "experiment-0123.npz")
    pipe = read_output(monkeypatch)
    assert workspace.restore(training) == ROWS
    assert pipe.arrived.count("going on") == 1
    assert pipe.arrived.count("\n") == 1


def test_the_workspace_drops_none_of_an_experiment(
    workspace: Checkpoint, training: Training
) -> None:
    workspace.save(training, [])
    kept = "experiment-4567.npz"
    for name in ("workspace-4567.npz", ".unfinished-workspace-4567.npz", kept):
        shutil.copy(workspace.path, workspace.folder / name)
    workspace.remove()
    assert Checkpoint("89ab").restore(training) == []
    assert [path.name for path in workspace.folder.iterdir()] == [kept]
