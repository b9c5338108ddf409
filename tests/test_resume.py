"""Training that is killed, interrupted or diverges, and what the next one makes of it."""

import csv
import os
import re
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from tests.project import (
    SLOW,
    SLOW_EPOCHS,
    Project,
    assert_refused,
    folder_to_train,
    printed,
    run,
    run_stage,
    start,
    succeed,
    wait_for,
)

OUTS = ("models/model.keras", "metrics/train.json", "plots/history.csv")
CHECKPOINTS = ".dvc/tmp/checkpoints"
TRAIN = (sys.executable, "-m", "stages.train")


@pytest.fixture
def folder(arrays: Path, tmp_path: Path) -> Path:
    """Return a folder in which a few epochs of the tutorial, with its dropout, can be trained."""
    return folder_to_train(arrays, tmp_path, "tutorial", **SLOW)


def hashes(folder: Path) -> dict[str, str]:
    return {name: sha256((folder / name).read_bytes()).hexdigest() for name in OUTS}


def checkpoints(folder: Path) -> list[Path]:
    return sorted((folder / CHECKPOINTS).glob("[!.]*.npz"))


def stop(command: Iterable[str], folder: Path, number: signal.Signals) -> tuple[int, str]:
    """Send a signal to a command and all that it started, once an epoch has results."""
    process = start(command, folder)
    wait_for((folder / "metrics/train.json").exists, process)
    os.killpg(process.pid, number)
    _, errors = process.communicate()
    return process.returncode, errors


def going_on(output: str) -> Iterator[int]:
    """Return the epochs after which a training went on, by what it printed."""
    for line in output.splitlines():
        if line.startswith("going on after epoch "):
            yield int(line.split()[4].rstrip(","))


def test_a_killed_training_goes_on_to_the_same_bytes(arrays: Path, tmp_path: Path) -> None:
    """Of the airbench network, whose phases differ; the tutorial's: test_two_at_once.py."""
    folder = folder_to_train(arrays, tmp_path, "airbench_small", **SLOW | {"batch_size": 100})
    succeed("train", folder)
    expected = hashes(folder)
    assert not checkpoints(folder)
    for name in OUTS:
        (folder / name).unlink()

    code, _ = stop(TRAIN, folder, signal.SIGKILL)
    assert code == -signal.SIGKILL
    # DVC removes the history like every other out.
    (folder / "plots/history.csv").unlink(missing_ok=True)
    # As if the clock had jumped back by a day meanwhile.
    ahead = time.time() + 86_400
    for path in (folder / "params.yaml", *checkpoints(folder)):
        os.utime(path, (ahead, ahead))
    output = succeed("train", folder)
    (epoch,) = going_on(output)
    assert 1 <= epoch < SLOW_EPOCHS
    told = re.findall(rf"^ *(\d)/{SLOW_EPOCHS} ", output, re.M)
    assert told == [f"{number}" for number in range(epoch + 1, SLOW_EPOCHS + 1)]
    assert hashes(folder) == expected
    assert not checkpoints(folder)


def test_an_interrupted_training_says_so_and_keeps_its_checkpoint(folder: Path, slow: Path) -> None:
    code, errors = stop(TRAIN, folder, signal.SIGINT)
    assert (code, errors) == (128 + signal.SIGINT, "error: interrupted by SIGINT\n")
    assert not (folder / "models/model.keras").exists()
    assert not [*folder.rglob(".unfinished-*")]
    (checkpoint,) = checkpoints(folder)
    # What DVC showed meanwhile, which says that it is no result.
    metrics = Project(folder).json("metrics/train.json")
    *_, last = csv.DictReader((folder / "plots/history.csv").open())
    assert metrics["val_accuracy"] == float(last["val_accuracy"])
    assert metrics["epochs_left"] == SLOW_EPOCHS - int(last["epoch"])

    # By another number of processors, and by other kernels of BLAS, the weights would be others.
    command = ["taskset", "-c", "0", *TRAIN]
    output = printed(run(command, folder, OPENBLAS_CORETYPE="Haswell"))
    assert [*going_on(output)] == []
    assert f"dropped a checkpoint of another training: {checkpoint.name}" in output
    assert not checkpoints(folder)
    (found,), (usual,) = (
        Project(each).json("metrics/train.json")["environment"] for each in (folder, slow)
    )
    assert usual["threads"] == len(os.sched_getaffinity(0))
    assert found == usual | {"threads": 1, "blas": found["blas"]}
    assert found["blas"].endswith(" Haswell")


IN_A_DESTRUCTOR = """
import os
import signal
from pipeline.common.shell import run

class Interrupting:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)

run(Interrupting)
"""


def test_an_interruption_in_a_destructor_is_not_lost(tmp_path: Path) -> None:
    """Where Python drops every exception, and where some of TensorFlow's code runs."""
    result = run([sys.executable, "-c", IN_A_DESTRUCTOR], tmp_path)
    assert result.returncode == 128 + signal.SIGTERM
    assert result.stderr == "error: interrupted by SIGTERM\n"


def test_an_interrupted_start_says_so(folder: Path) -> None:
    """While TensorFlow is imported, which takes most of the time until a stage begins."""
    process = start(TRAIN, folder)
    maps = Path(f"/proc/{process.pid}/maps")
    wait_for(lambda: "libtensorflow" in maps.read_text(), process)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    assert errors == "error: interrupted by SIGTERM\n"


def test_a_last_step_that_diverges_leaves_no_model(folder: Path, raw: Path) -> None:
    """The loss of its batch was measured before it, and no validation image shows it."""
    (folder / "data").unlink()
    (folder / "data").mkdir()
    (folder / "data/raw").symlink_to(raw)
    Project(folder).edit(
        {
            "preprocess.validation_split": 0.0,
            "recipes.tutorial.epochs": 1,
            "recipes.tutorial.batch_size": 500,
            "recipes.tutorial.optimizer.learning_rate": 1e30,
        }
    )
    succeed("preprocess", folder)
    result = run_stage("train", folder)
    assert result.returncode == 1
    assert result.stderr.startswith("error: the trained model's probabilities are not finite; ")
    assert not (folder / "models/model.keras").exists()


def test_too_little_memory_is_told(folder: Path) -> None:
    network = {"filters": [60_000], "pool_after": [1], "dense_units": 100_000}
    Project(folder).edit({f"recipes.tutorial.network.{key}": v for key, v in network.items()})
    command = f"ulimit -v 9000000; exec {sys.executable} -m stages.train"
    result = run(["bash", "-c", command], folder)
    assert_refused(result, "params.yaml: the selected recipe needs more memory than there is")
