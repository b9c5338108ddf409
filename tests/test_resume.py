"""Training that is killed, interrupted or diverges, and what the next one makes of it."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import yaml

from stages import device as device  # First, since TensorFlow reads what it sets.
from stages.models import tutorial
from stages.train.checkpoint import Checkpoint
from stages.train.fingerprint import fingerprint
from stages.train.recipes import Training
from tests.project import (
    Project,
    assert_refused,
    environment_of_tests,
    put,
    run,
    run_stage,
    write_params,
)

import keras  # isort: skip

OUTS = ("models/model.keras", "metrics/train.json", "plots/history.csv")
CHECKPOINTS = ".dvc/tmp/checkpoints"
TRAIN = (sys.executable, "-m", "stages.train")
EPOCHS = 3
# Many steps, so that the end is far when the first checkpoint is there.
SLOW = {"epochs": EPOCHS, "batch_size": 20}


@pytest.fixture
def folder(arrays: Path, tmp_path: Path) -> Path:
    """Return a folder in which a few epochs of the tutorial, with its dropout, can be trained."""
    (tmp_path / "data").symlink_to(arrays / "data")
    params = yaml.safe_load((arrays / "params.yaml").read_text())
    params["recipe"] = "tutorial"
    params["recipes"]["tutorial"] |= SLOW
    write_params(tmp_path, params)
    return tmp_path


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkpoint:
    """Return the place of a checkpoint in an empty folder."""
    monkeypatch.chdir(tmp_path)
    checkpoint = Checkpoint("0123")
    checkpoint.claim()
    return checkpoint


def tiny_training(seed: int) -> Training:
    keras.utils.set_random_seed(seed)
    model = tutorial.build(2, 4, 0.25, 0.5)
    return Training(model, keras.optimizers.RMSprop(), keras.losses.CategoricalCrossentropy(), [])


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
    """Send a signal to a command and all that it started, once a checkpoint is there."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment_of_tests(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_for(lambda: checkpoints(folder), process)
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


def test_a_killed_training_goes_on_to_the_same_bytes(folder: Path) -> None:
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
    assert 1 <= epoch < EPOCHS
    titles = [line.split("  ")[0] for line in result.stdout.splitlines() if "  loss" in line]
    assert titles == [f"epoch {number}/{EPOCHS}" for number in range(epoch + 1, EPOCHS + 1)]
    assert hashes(folder) == expected
    assert not checkpoints(folder)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_an_interrupted_training_says_so_and_keeps_its_checkpoint(
    folder: Path, number: signal.Signals
) -> None:
    code, _, errors = stop(TRAIN, folder, number)
    assert code == 128 + number
    assert errors.splitlines() == [f"error: interrupted by {number.name}"]
    assert not (folder / "models/model.keras").exists()
    assert not [*folder.rglob(".unfinished-*")]
    assert len(checkpoints(folder)) == 1


IN_A_DESTRUCTOR = """
import os
import time
from stages.errors import exit_with_message

class Interrupting:
    def __del__(self):
        os.kill(os.getpid(), NUMBER)

def main():
    Interrupting()
    time.sleep(60)

exit_with_message(main)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_an_interruption_in_a_destructor_is_not_lost(
    tmp_path: Path, number: signal.Signals
) -> None:
    """Where Python drops every exception, and where some of TensorFlow's code runs."""
    program = IN_A_DESTRUCTOR.replace("NUMBER", str(int(number)))
    start = time.monotonic()
    result = run([sys.executable, "-c", program], tmp_path)
    assert time.monotonic() - start < 30
    assert result.returncode == 128 + number
    assert result.stderr.splitlines() == [f"error: interrupted by {number.name}"]


@pytest.mark.parametrize("stage", ["train", "evaluate"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_an_interrupted_start_says_so(
    trained: Path, tmp_path: Path, stage: str, number: signal.Signals
) -> None:
    """While TensorFlow is imported, which takes most of the time until a stage begins."""
    shutil.copytree(trained, tmp_path, symlinks=True, dirs_exist_ok=True)
    process = subprocess.Popen(
        (sys.executable, "-m", f"stages.{stage}"),
        cwd=tmp_path,
        env=environment_of_tests(),
        stderr=subprocess.PIPE,
        text=True,
    )
    maps = Path(f"/proc/{process.pid}/maps")
    wait_for(lambda: "libtensorflow" in maps.read_text(), process)
    process.send_signal(number)
    _, errors = process.communicate()
    assert process.returncode == 128 + number
    assert errors.splitlines() == [f"error: interrupted by {number.name}"]


def test_a_checkpoint_of_another_seed_is_dropped(folder: Path) -> None:
    stop(TRAIN, folder, signal.SIGKILL)
    (path,) = checkpoints(folder)
    params = yaml.safe_load((folder / "params.yaml").read_text())
    put(params, "seed", 1)
    write_params(folder, params)
    result = run_stage("train", folder)
    assert result.returncode == 0, result.stderr
    assert [line for line in result.stdout.splitlines() if "checkpoint" in line] == [
        f"dropped a checkpoint of other parameters, data, code or versions: {path.name}"
    ]
    assert f"epoch 1/{EPOCHS}" in result.stdout


def test_the_fingerprint_is_of_settings_and_data() -> None:
    zeros, ones = np.zeros((2, 3)), np.ones((2, 3))
    names = {
        fingerprint([0, {"rate": 1.0}], zeros),
        fingerprint([1, {"rate": 1.0}], zeros),
        fingerprint([0, {"rate": 2.0}], zeros),
        fingerprint([0, {"rate": 1.0}], ones),
        fingerprint([0, {"rate": 1.0}], zeros.reshape(3, 2)),
        fingerprint([0, {"rate": 1.0}], zeros, zeros[:0]),
    }
    assert len(names) == 6
    assert fingerprint([0, {"rate": 1.0}], zeros.copy()) in names


def test_a_checkpoint_holds_the_whole_state(checkpoint: Checkpoint) -> None:
    saved, restored = tiny_training(0), tiny_training(1)
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


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_checkpoint_is_dropped(
    checkpoint: Checkpoint, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = tiny_training(0)
    checkpoint.save(saved, [{"epoch": 1}])
    content = checkpoint.path.read_bytes()
    middle = content.index(saved.state[0].numpy().tobytes())
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    damaged = {"cut": content[:middle], "flipped": flipped, "empty": b""}[damage]
    checkpoint.path.write_bytes(damaged)

    training = tiny_training(1)
    before = [variable.numpy() for variable in training.state]
    assert checkpoint.restore(training) == []
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("dropped a checkpoint that cannot be read (")
    assert line.endswith(f"): {checkpoint.path.name}")
    assert [*checkpoint.folder.iterdir()] == [checkpoint.owner]
    for variable, value in zip(training.state, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


@pytest.mark.parametrize("field", [6, 8, 10, 20, 24, 28])
def test_no_flipped_bit_in_an_archive_ends_the_next_training(
    checkpoint: Checkpoint, field: int
) -> None:
    """Of a zip archive's list of files, where it tells version, flags, compression and sizes."""
    training = tiny_training(0)
    checkpoint.save(training, [{"epoch": 1}])
    content = checkpoint.path.read_bytes()
    place = content.index(b"PK\x01\x02") + field
    for bit in range(16):
        flipped = bytearray(content)
        flipped[place + bit // 8] ^= 1 << bit % 8
        checkpoint.path.write_bytes(flipped)
        rows = checkpoint.restore(training)
        assert rows == [{"epoch": 1}] if checkpoint.path.exists() else rows == []


def test_a_checkpoint_of_other_shapes_is_dropped(checkpoint: Checkpoint) -> None:
    checkpoint.save(tiny_training(0), [{"epoch": 1}])
    model = tutorial.build(3, 4, 0.25, 0.5)
    other = Training(model, keras.optimizers.RMSprop(), keras.losses.CategoricalCrossentropy(), [])
    before = [variable.numpy() for variable in other.state]
    assert checkpoint.restore(other) == []
    for variable, value in zip(other.state, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


@pytest.mark.parametrize("rows", ["5", "{}", "[1]", '[{"epoch": 2}]'])
def test_a_checkpoint_of_another_history_is_dropped(checkpoint: Checkpoint, rows: str) -> None:
    training = tiny_training(0)
    values = {f"{number:04}": v.numpy() for number, v in enumerate(training.state)}
    np.savez(checkpoint.path, allow_pickle=False, history=np.array(rows), **values)
    assert checkpoint.restore(training) == []
    assert not checkpoint.path.exists()


def test_the_workspace_drops_none_of_an_experiment(checkpoint: Checkpoint) -> None:
    checkpoint.save(tiny_training(0), [])
    kept = "experiment-4567.npz"
    for name in ("workspace-4567.npz", ".unfinished-workspace-4567.npz", kept):
        shutil.copy(checkpoint.path, checkpoint.folder / name)
    checkpoint.remove()
    assert Checkpoint("89ab").restore(tiny_training(0)) == []
    assert [path.name for path in checkpoint.folder.iterdir()] == [kept]


def test_a_training_that_diverges_stops(folder: Path) -> None:
    params = yaml.safe_load((folder / "params.yaml").read_text())
    put(params, "recipes.tutorial.learning_rate", 1e30)
    write_params(folder, params)
    result = run_stage("train", folder)
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: epoch 1/{EPOCHS}: the loss is not finite")
    assert not (folder / "models/model.keras").exists()
    assert not checkpoints(folder)


def test_a_last_step_that_diverges_leaves_no_model(folder: Path) -> None:
    """The loss of its batch was measured before it, and no validation image shows it."""
    raw = (folder / "data/raw").resolve()
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["preprocess"] |= {"validation_split": 0.0, "train_size": 100}
    params["recipes"]["tutorial"] |= {"epochs": 1, "batch_size": 100}
    put(params, "recipes.tutorial.learning_rate", 1e30)
    write_params(folder, params)
    (folder / "data").unlink()
    (folder / "data").mkdir()
    (folder / "data/raw").symlink_to(raw)
    assert run_stage("preprocess", folder).returncode == 0
    result = run_stage("train", folder)
    assert (result.returncode, result.stderr) == (
        1,
        "error: the trained model's answers are not finite; try a lower learning_rate\n",
    )
    assert not (folder / "models/model.keras").exists()


def test_too_little_memory_is_told(folder: Path) -> None:
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["recipes"]["tutorial"] |= {"filters": 60_000, "dense_units": 100_000}
    write_params(folder, params)
    command = f"ulimit -v 9000000; exec {sys.executable} -m stages.train"
    result = run(["bash", "-c", command], folder)
    assert_refused(result, "params.yaml: the recipe that is on needs more memory than there is")


def test_an_experiment_goes_on_to_the_same_bytes(
    reproduced: Callable[[Path], Project], tmp_path: Path
) -> None:
    """In a folder of its own; `tests/soak_resume.py` kills `dvc repro`."""
    project = reproduced(tmp_path)
    params = project.params()
    params["recipes"]["airbench_small"] |= SLOW | {"low_resolution_share": 0.5}
    project.write(params)
    project.commit("Many steps")

    stop(("dvc", "exp", "run", "--temp"), project.folder, signal.SIGKILL)
    (epoch,) = going_on(project.dvc("exp", "run", "--temp", "--name=a"))
    assert 1 <= epoch < EPOCHS
    assert not checkpoints(project.folder)
    project.dvc("exp", "apply", "a")
    assert_same_without_interruption(project)
