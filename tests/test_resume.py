"""Training that is killed, interrupted or diverges, and what the next one makes of it."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest
import yaml

from tests.project import (
    SLOW_EPOCHS,
    Project,
    assert_refused,
    environment_of_tests,
    put,
    run,
    run_stage,
    slow_folder,
    write_params,
)

OUTS = ("models/model.keras", "metrics/train.json", "plots/history.csv")
CHECKPOINTS = ".dvc/tmp/checkpoints"
TRAIN = (sys.executable, "-m", "stages.train")


@pytest.fixture
def folder(arrays: Path, tmp_path: Path) -> Path:
    """Return a folder in which a few epochs of the tutorial, with its dropout, can be trained."""
    return slow_folder("tutorial", arrays, tmp_path)


def hashes(folder: Path) -> dict[str, str]:
    return {name: sha256((folder / name).read_bytes()).hexdigest() for name in OUTS}


def checkpoints(folder: Path) -> list[Path]:
    return sorted((folder / CHECKPOINTS).glob("[!.]*.npz"))


def wait_for(happened: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Wait until something happens while a process runs, two minutes at most."""
    deadline = time.monotonic() + 120
    while not happened():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)


def stop(command: tuple[str, ...], folder: Path, number: signal.Signals) -> tuple[int, str, str]:
    """Send a signal to a command and all that it started, once an epoch has results."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment_of_tests(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_for((folder / "metrics/train.json").exists, process)
    os.killpg(process.pid, number)
    output, errors = process.communicate()
    return process.returncode, output, errors


def assert_same_without_interruption(project: Project) -> None:
    """Train once more without interruption, and assert that the outs stay the same."""
    found = hashes(project.folder)
    assert project.repro("--force", "--single-item", "train") == {"train"}
    assert hashes(project.folder) == found


def going_on(output: str) -> Iterator[int]:
    """Return the epochs after which a training went on, by what it printed."""
    for line in output.splitlines():
        if line.startswith("going on after epoch "):
            yield int(line.split()[4].rstrip(","))


def test_a_killed_training_goes_on_to_the_same_bytes(arrays: Path, tmp_path: Path) -> None:
    """Of the airbench network, whose phases differ; the tutorial's: test_two_at_once.py."""
    folder = slow_folder("airbench_small", arrays, tmp_path, batch_size=100)
    result = run_stage("train", folder)
    assert result.returncode == 0, result.stderr
    expected = hashes(folder)
    assert not checkpoints(folder)
    for name in OUTS:
        (folder / name).unlink()

    code, _, _ = stop(TRAIN, folder, signal.SIGKILL)
    assert code == -signal.SIGKILL
    # DVC removes the history like every other out.
    (folder / "plots/history.csv").unlink(missing_ok=True)
    # As if the clock had jumped back by a day meanwhile.
    ahead = time.time() + 86_400
    for path in (folder / "params.yaml", *checkpoints(folder)):
        os.utime(path, (ahead, ahead))
    result = run_stage("train", folder)
    assert result.returncode == 0, result.stderr
    (epoch,) = going_on(result.stdout)
    assert 1 <= epoch < SLOW_EPOCHS
    told = re.findall(rf"^ *(\d)/{SLOW_EPOCHS} ", result.stdout, re.M)
    assert told == [f"{number}" for number in range(epoch + 1, SLOW_EPOCHS + 1)]
    assert hashes(folder) == expected
    assert not checkpoints(folder)


def test_an_interrupted_training_says_so_and_keeps_its_checkpoint(folder: Path) -> None:
    code, _, errors = stop(TRAIN, folder, signal.SIGINT)
    assert code == 128 + signal.SIGINT
    assert errors.splitlines() == ["error: interrupted by SIGINT"]
    assert not (folder / "models/model.keras").exists()
    assert not [*folder.rglob(".unfinished-*")]
    assert len(checkpoints(folder)) == 1
    # What DVC showed meanwhile, which says that it is no result.
    metrics = json.loads((folder / "metrics/train.json").read_text())
    *_, last = csv.DictReader((folder / "plots/history.csv").open())
    assert metrics["val_accuracy"] == float(last["val_accuracy"])
    assert metrics["epochs_left"] == SLOW_EPOCHS - int(last["epoch"])


IN_A_DESTRUCTOR = """
import os
import signal
import time
from pipeline.common.shell import run

class Interrupting:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)

def main():
    Interrupting()
    time.sleep(60)

run(main)
"""


def test_an_interruption_in_a_destructor_is_not_lost(tmp_path: Path) -> None:
    """Where Python drops every exception, and where some of TensorFlow's code runs."""
    result = run([sys.executable, "-c", IN_A_DESTRUCTOR], tmp_path)
    assert result.returncode == 128 + signal.SIGTERM
    assert result.stderr.splitlines() == ["error: interrupted by SIGTERM"]


def test_an_interrupted_start_says_so(folder: Path) -> None:
    """While TensorFlow is imported, which takes most of the time until a stage begins."""
    process = subprocess.Popen(
        TRAIN,
        cwd=folder,
        env=environment_of_tests(),
        stderr=subprocess.PIPE,
        text=True,
    )
    maps = Path(f"/proc/{process.pid}/maps")
    wait_for(lambda: "libtensorflow" in maps.read_text(), process)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    assert errors.splitlines() == ["error: interrupted by SIGTERM"]


def test_a_training_that_diverges_stops(folder: Path) -> None:
    params = yaml.safe_load((folder / "params.yaml").read_text())
    put(params, "recipes.tutorial.optimizer.learning_rate", 1e30)
    write_params(folder, params)
    result = run_stage("train", folder)
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: epoch 1/{SLOW_EPOCHS}: the loss is not finite")
    assert not (folder / "models/model.keras").exists()
    assert not checkpoints(folder)


def test_a_last_step_that_diverges_leaves_no_model(folder: Path) -> None:
    """The loss of its batch was measured before it, and no validation image shows it."""
    raw = (folder / "data/raw").resolve()
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["preprocess"] |= {"validation_split": 0.0, "train_size": 100}
    params["recipes"]["tutorial"] |= {"epochs": 1, "batch_size": 100}
    put(params, "recipes.tutorial.optimizer.learning_rate", 1e30)
    write_params(folder, params)
    (folder / "data").unlink()
    (folder / "data").mkdir()
    (folder / "data/raw").symlink_to(raw)
    assert run_stage("preprocess", folder).returncode == 0
    result = run_stage("train", folder)
    assert (result.returncode, result.stderr) == (
        1,
        "error: the trained model's probabilities are not finite; try a lower learning_rate\n",
    )
    assert not (folder / "models/model.keras").exists()


def test_too_little_memory_is_told(folder: Path) -> None:
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["recipes"]["tutorial"]["network"] |= {
        "filters": [60_000],
        "pool_after": [1],
        "dense_units": 100_000,
    }
    write_params(folder, params)
    command = f"ulimit -v 9000000; exec {sys.executable} -m stages.train"
    result = run(["bash", "-c", command], folder)
    assert_refused(result, "params.yaml: the selected recipe needs more memory than there is")
