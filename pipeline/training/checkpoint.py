"""Saves the training's state after each epoch, so that a killed training resumes.

DVC removes a stage's outs before it runs the stage, and runs an experiment with `--temp` or from
the queue in a folder that is gone afterwards. So checkpoints are no outs; they lie in
.dvc/tmp/checkpoints of the repository itself, which neither Git nor DVC tracks.
"""

import hashlib
import json
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.common.paths import CHECKPOINTS
from pipeline.common.shell import UserError, one_line, replacing, write_atomically

import keras

# Metrics of an epoch: a row of plots/history.csv.
Row = dict[str, float]

ROOT = Path(__file__).parents[2]
# What editors and merges leave beside a source file, as .dvcignore has it.
LITTER = re.compile(r"(^|/)\.|_(BASE|BACKUP|LOCAL|REMOTE)_")


class Checkpoint:
    """The state of one training, in a file named after all that its weights depend on."""

    def __init__(self, settings: object, *arrays: np.ndarray):
        """Find the place of the file, and make this the training of its workspace.

        When only `dvc` was killed, the training that it had started still runs. Before that one
        would write again, it finds that the place has a new owner, and ends.

        Args:
            settings: anything that JSON holds: parameters, seed, versions, processor.
            *arrays: the data.
        """
        here = Path.cwd()
        queue = next((p for p in here.parents if p.match(".dvc/tmp/exps")), None)
        # Of the workspace only the last training is worth keeping, of experiments every one.
        self.kind = "experiment" if queue else "workspace"
        self.folder = (queue.parents[2] if queue else here) / CHECKPOINTS
        self.path = self.folder / f"{self.kind}-{fingerprint(settings, *arrays)}.npz"
        self.owner = self.folder / f"{self.kind}.owner"
        self.parent = os.getppid()
        if not queue:
            write_atomically(self.owner, str(os.getpid()).encode())
            for half_written in self.folder.glob(".unfinished-workspace-*"):
                half_written.unlink(missing_ok=True)
            for other in {*self.folder.glob("workspace-*")} - {self.path}:
                other.unlink(missing_ok=True)
                print(f"dropped a checkpoint of another training: {other.name}", flush=True)

    def save(self, variables: list[keras.Variable], history: list[Row]) -> None:
        """Replace the file by the present state; after a loss of power it is the old or the new.

        Raises:
            UserError: a newer training has begun in this folder; nothing is written.
        """
        is_ours = self.kind == "experiment" or (
            self.owner.exists() and self.owner.read_text() == str(os.getpid())
        )
        if not is_ours:
            raise UserError("a newer training has begun in this folder and takes its place", 1)
        values = [variable.numpy() for variable in variables]
        with replacing(self.path, sum(v.nbytes for v in values)) as path, path.open("wb") as file:
            np.savez(file, *values, allow_pickle=False, history=np.array(json.dumps(history)))
            file.flush()
            os.fsync(file.fileno())
        # The renaming, too, should outlast a loss of power. Not every file system can promise that.
        with suppress(OSError):
            descriptor = os.open(self.folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def restore(self, variables: list[keras.Variable]) -> list[Row]:
        """Put back the state after the last finished epoch, and return the history up to it.

        Without a file that can be read, nothing happens and the history is empty.
        """
        # Also from an experiment that was killed in its own folder.
        found = sorted(self.folder.glob(f"[!.]*{self.path.name.partition('-')[2]}"))
        if not found:
            return []
        path = found[-1]
        try:
            with np.load(path, allow_pickle=False) as file:
                history: list[Row] = json.loads(file["history"].item())
                values = [file[f"arr_{number}"] for number in range(len(variables))]
        except Exception as error:
            # The readers of zip archives, headers and JSON raise whatever damage leads them to.
            print(f"starting anew: {path.name} cannot be read: {one_line(error)}", flush=True)
            return []
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        print(f"going on after epoch {len(history)}, from {path.name}", flush=True)
        return history

    def remove(self) -> None:
        """Remove the file, unless the `dvc` that started the training is gone.

        Then nobody records the outs: the next `dvc` removes them, and makes them again from here.
        """
        if os.getppid() == self.parent:
            self.path.unlink(missing_ok=True)
        self.owner.unlink(missing_ok=True)


def fingerprint(settings: Any, *arrays: np.ndarray) -> str:
    """Return 32 hexadecimal digits that change with the settings, the data and the code."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for path in [ROOT / "stages/train.py", *sorted((ROOT / "pipeline").rglob("*.py"))]:
        name = path.relative_to(ROOT).as_posix()
        if not LITTER.search(name):
            digest.update(name.encode() + b"\0" + path.read_bytes())
    for array in arrays:
        digest.update(str(array.shape).encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:32]
