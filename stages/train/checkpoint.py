"""What a killed training goes on from: its state after the last finished epoch.

DVC removes a stage's outs before it runs the stage, and runs an experiment with `--temp` or from
the queue in a folder that is gone afterwards. So checkpoints are no outs; they lie in
.dvc/tmp/checkpoints of the repository itself, which neither Git nor DVC tracks.
"""

import io
import json
import os
from pathlib import Path

import numpy as np

from stages.errors import InputError, TrainingError, in_one_line
from stages.files import replace, replacing
from stages.train.history import Row
from stages.train.recipes import Training

EXPERIMENTS = Path(".dvc/tmp/exps")
CHECKPOINTS = Path(".dvc/tmp/checkpoints")
# Of the workspace only the last training is worth keeping, of experiments every one.
WORKSPACE, EXPERIMENT = "workspace", "experiment"


class Checkpoint:
    """The state of one training, in a file named after its fingerprint."""

    def __init__(self, fingerprint: str):
        """Find the place of the file; nothing is read or written."""
        here = Path.cwd()
        experiments = next((p for p in here.parents if p.match(str(EXPERIMENTS))), None)
        root = experiments.parents[2] if experiments else here
        self.kind = EXPERIMENT if experiments else WORKSPACE
        self.folder = root / CHECKPOINTS
        self.fingerprint = fingerprint
        self.path = self.folder / f"{self.kind}-{fingerprint}.npz"
        self.owner = self.folder / f"{self.kind}.owner"
        self.parent = os.getppid()

    def claim(self) -> None:
        """Make this the training of its workspace.

        When only `dvc` was killed, the training that it had started still runs. Before that one
        would write again, it finds this claim and ends.
        """
        if self.kind == WORKSPACE:
            replace(self.owner, str(os.getpid()).encode())

    def is_ours(self) -> bool:
        """Say whether this process was the last to claim the workspace; experiments are alone."""
        if self.kind == EXPERIMENT:
            return True
        return self.owner.exists() and self.owner.read_text() == str(os.getpid())

    def save(self, training: Training, rows: list[Row]) -> None:
        """Replace the file by the present state; after a loss of power it is the old or the new.

        Args:
            training: what trains.
            rows: the history so far, one row for each finished epoch.

        Raises:
            TrainingError: a newer training has claimed this place; nothing is written.
        """
        if not self.is_ours():
            raise TrainingError("a newer training has begun in this folder and takes its place")
        values = {f"{number:04}": v.numpy() for number, v in enumerate(training.state)}
        size = sum(value.nbytes for value in values.values())
        with replacing(self.path, size) as path, path.open("wb") as file:
            np.savez(file, allow_pickle=False, history=np.array(json.dumps(rows)), **values)
            file.flush()
            os.fsync(file.fileno())
        sync_folder(self.folder)

    def restore(self, training: Training) -> list[Row]:
        """Put back the state of the last finished epoch, and return the history up to it.

        Checkpoints of other settings that were made in the same place are dropped, and so is a
        damaged one; each is named on a line. Without a checkpoint nothing happens and the history
        is empty.

        Raises:
            InputError: it cannot be read now.
        """
        for half_written in self.folder.glob(f".*{self.kind}-*"):
            if self.kind == WORKSPACE or self.fingerprint in half_written.name:
                half_written.unlink(missing_ok=True)
        rows: list[Row] = []
        for path in sorted(self.folder.glob("[!.]*.npz")):
            if path.stem.endswith(self.fingerprint):
                rows = rows or read(path, training)
            elif self.kind == WORKSPACE and path.name.startswith(WORKSPACE):
                drop(path, "of other parameters, data, code or versions")
        return rows

    def remove(self) -> None:
        """Remove the file, unless the `dvc` that started the training is gone.

        Then nobody records the outs: the next `dvc` removes them, and makes them again from here.
        """
        if os.getppid() == self.parent:
            self.path.unlink(missing_ok=True)
        self.owner.unlink(missing_ok=True)


def read(path: Path, training: Training) -> list[Row]:
    """Load a file into the variables, or drop it whole and return no rows.

    Raises:
        InputError: the file system does not hand it out; it may be whole, so it stays.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            rows = json.loads(file["history"].item())
            values = [file[f"{number:04}"] for number in range(len(training.state))]
        if [*map(kind_of, values)] != [kind_of(variable.numpy()) for variable in training.state]:
            raise ValueError("its arrays are of other shapes or types")
        epochs = [row["epoch"] for row in rows] if isinstance(rows, list) else None
        if epochs != [*range(1, len(rows) + 1)]:
            raise ValueError("its history is not one of epochs")
    except Exception as error:
        # The readers of zip archives, headers and JSON raise whatever damage leads them to.
        drop(path, f"that cannot be read ({in_one_line(error)})")
        return []
    for variable, value in zip(training.state, values, strict=True):
        variable.assign(value)
    print(f"going on after epoch {len(rows)}, from {path.name}", flush=True)
    return rows


def kind_of(array: np.ndarray) -> tuple[object, ...]:
    """Return shape and type."""
    return array.shape, array.dtype


def drop(path: Path, what: str) -> None:
    """Remove a checkpoint and say so."""
    path.unlink(missing_ok=True)
    print(f"dropped a checkpoint {what}: {path.name}", flush=True)


def sync_folder(folder: Path) -> None:
    """Make a renaming in `folder` outlast a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
