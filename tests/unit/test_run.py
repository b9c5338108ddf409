"""One training: what it leaves, what it prints, and how it ends before its time."""

import csv
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages import device  # First, since TensorFlow reads what it sets.
from stages.errors import InputError, TrainingError
from stages.train import cluster
from stages.train import run as run_module
from stages.train.environment import environment
from stages.train.run import run
from tests.unit.tiny import (
    AIRBENCH,
    HISTORY,
    ROWS,
    TUTORIAL,
    Killed,
    Loop,
    images,
    small_network,
    training_of,
)
from tests.unit.tiny_recipes import tiny

import keras  # isort: skip
import tensorflow as tf  # isort: skip

MODEL, METRICS = Path("models/model.keras"), Path("metrics/train.json")
CHECKPOINTS = Path(".dvc/tmp/checkpoints")
TRAINING, VALIDATION = images(20, 0), images(5, 1)
HEADER = "epoch,loss,accuracy,val_loss,val_accuracy,learning_rate,recipe\n"
FIRST = "1,2.12346,0.25,2.5,0.2,0.1,mine\n"
SECOND = "2,0.333333,0.666667,1.23457e+06,1,0.1,mine\n"
ANSWERS = "the trained model's answers are not finite; try a lower learning_rate"
MEMORY = (
    "params.yaml: the selected recipe needs more memory than there is; "
    "a smaller network or batch_size needs less"
)


@pytest.fixture
def loop(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Loop:
    monkeypatch.setattr(device, "GPUS", [])
    return Loop().install(monkeypatch)


def trained(seed: int = 3) -> None:
    run("mine", TUTORIAL, seed, "auto", TRAINING, VALIDATION)


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_files_are_the_results_and_nothing_else(loop: Loop, folder: Path) -> None:
    trained()
    assert files(folder) == ["metrics/train.json", "models/model.keras", "plots/history.csv"]


def test_devices_are_those_asked_for(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    def select(*arguments: object) -> None:
        raise KeyboardInterrupt(*arguments)

    monkeypatch.setattr(device, "select", select)
    with pytest.raises(KeyboardInterrupt) as asked:
        run("mine", TUTORIAL, 3, "cpu", TRAINING, VALIDATION, "bfloat16", 4)
    assert asked.value.args == ("cpu", "bfloat16", 4)


def test_results(loop: Loop) -> None:
    """Six digits of the last epoch, and no times."""
    trained()
    expected = {
        "val_accuracy": 1.0,
        "train_accuracy": 0.666667,
        "val_loss": 1234570.0,
        "train_loss": 0.333333,
        "epochs": 2,
        "sizes": [{"images": 20, "parameters": 12 + 40, "trainable_parameters": 6 + 40}],
        "environment": [environment("CPU")],
    }
    assert METRICS.read_text() == json.dumps(expected, indent=2) + "\n"


def test_without_validation_images_there_are_no_results_of_them(loop: Loop) -> None:
    loop.rows = [{"epoch": 1, "loss": 0.5, "accuracy": 0.75}]
    run("mine", TUTORIAL, 3, "auto", TRAINING, (VALIDATION[0][:0], VALIDATION[1][:0]))
    results = json.loads(METRICS.read_text())
    assert [*results][:4] == ["train_accuracy", "train_loss", "epochs", "sizes"]
    assert HISTORY.read_text() == "epoch,loss,accuracy,learning_rate,recipe\n1,0.5,0.75,0.1,mine\n"


def test_the_history_grows_with_each_epoch(loop: Loop) -> None:
    trained()
    assert loop.histories == [None, HEADER + FIRST, HEADER + FIRST + SECOND]
    assert HISTORY.read_bytes() == (HEADER + FIRST + SECOND).encode()


def test_the_model_is_the_trained_one(loop: Loop) -> None:
    """Of weights that start from the seed; that it answers at the end changes nothing."""
    trained(seed=3)
    keras.utils.set_random_seed(3)
    start = small_network().get_weights()
    found = keras.saving.load_model(MODEL, safe_mode=True).get_weights()
    for value, first in zip(found, start, strict=True):
        np.testing.assert_array_equal(value, first + np.float32(1) + np.float32(1))


def test_the_model_is_of_keras_own_layers(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    from stages.models.fused_batch_normalization import FusedBatchNormalization

    layers = [FusedBatchNormalization(), keras.layers.Flatten(), keras.layers.Dense(10)]
    loop.training = training_of(keras.Sequential([keras.Input((32, 32, 3)), *layers]))
    trained()
    loaded = keras.saving.load_model(MODEL, safe_mode=True)
    assert type(loaded.layers[0]) is keras.layers.BatchNormalization


def test_network_and_loop_get_what_was_given(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    places = []
    strategy_on = cluster.strategy_on

    def noted(given: list[tf.DeviceSpec]) -> tf.distribute.Strategy:
        places.extend(given)
        return strategy_on(given)

    monkeypatch.setattr(cluster, "strategy_on", noted)
    run("mine", AIRBENCH, 7, "cpu", TRAINING, VALIDATION)
    recipe, *data, seed, on_cpu = loop.assembled
    assert (recipe, seed, on_cpu) == (AIRBENCH, 7, True)
    assert loop.on_gpu is False
    assert data[0] is TRAINING[0]
    assert data[1] is TRAINING[1]
    assert loop.trained[0] is VALIDATION[0]
    assert loop.trained[1] is VALIDATION[1]
    assert loop.trained[2] == []
    assert [place.to_string() for place in places] == ["/device:CPU:0"]


def test_device_and_time_are_told(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    train = loop.train

    def slow(*given: Any, **more: Any) -> Any:
        clock[0] += 61.6
        return train(*given, **more)

    monkeypatch.setattr(run_module, "train", slow)
    trained()
    assert capsys.readouterr().out == "device: CPU, float32; no GPU is seen\ntrained for 62 s\n"


def test_a_gpu_that_is_not_there_is_told_before_anything_is_written(
    loop: Loop, folder: Path
) -> None:
    with pytest.raises(InputError, match="no GPU is seen"):
        run("mine", TUTORIAL, 3, "gpu", TRAINING, VALIDATION)
    assert files(folder) == []


def test_a_training_claims_its_folder(loop: Loop) -> None:
    loop.killed_after = 0
    with pytest.raises(Killed):
        trained()
    assert files(CHECKPOINTS) == ["workspace.owner"]


@pytest.mark.parametrize("killed_after", [1, 2])
def test_a_killed_training_goes_on_to_the_same_files(
    loop: Loop, folder: Path, monkeypatch: pytest.MonkeyPatch, killed_after: int
) -> None:
    """After the first epoch, and after the last."""
    trained()
    expected = {name: Path(name).read_bytes() for name in files(folder)}
    for name in expected:
        Path(name).unlink()

    loop = Loop([*ROWS, {"epoch": 3}]).install(monkeypatch)
    loop.killed_after = killed_after
    with pytest.raises(Killed):
        trained()
    assert files(CHECKPOINTS)[0].startswith("workspace-")
    HISTORY.unlink()
    loop = Loop().install(monkeypatch)
    trained()
    assert loop.trained[2] == [row | {"learning_rate": 0.1} for row in ROWS[:killed_after]]
    # Where nobody draws it meanwhile, the history is there again before the next epoch ends.
    assert loop.histories[0] == HEADER + (FIRST if killed_after == 1 else FIRST + SECOND)
    assert {name: Path(name).read_bytes() for name in files(folder)} == expected


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_answers_that_are_not_finite_leave_no_model(loop: Loop, folder: Path, value: float) -> None:
    model = small_network()
    model.layers[-1].bias.assign([0, 0, value, 0, 0, 0, 0, 0, 0, 0])
    loop.training = training_of(model)
    with pytest.raises(TrainingError) as caught:
        trained()
    assert str(caught.value) == ANSWERS
    assert not MODEL.exists()
    assert not METRICS.exists()


def test_an_answer_to_any_of_the_first_hundred_images_counts(loop: Loop) -> None:
    many, labels = np.zeros((101, 32, 32, 3), np.float32), np.zeros(101, np.uint8)
    many[99] = np.nan
    with pytest.raises(TrainingError, match="not finite"):
        run("mine", TUTORIAL, 3, "auto", (many, labels), VALIDATION)


@pytest.mark.parametrize(
    "failure", [MemoryError(), tf.errors.ResourceExhaustedError(None, None, "of GPU 0")]
)
@pytest.mark.parametrize("part", ["assemble", "train", "scale"])
def test_too_little_memory_is_told(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, failure: Exception, part: str
) -> None:
    def fail(*given: object, **more: object) -> None:
        raise failure

    monkeypatch.setattr(run_module, part, fail)
    scaled = TUTORIAL.model_copy(update={"temperature_scaling": True})
    with pytest.raises(InputError) as caught:
        run("mine", scaled, 3, "auto", TRAINING, VALIDATION)
    assert str(caught.value) == MEMORY


def test_a_newer_training_in_the_same_folder_ends_this_one(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    train: Callable[..., Any] = loop.train

    def overtaken(*given: Any, **more: Any) -> Any:
        (CHECKPOINTS / "workspace.owner").write_text("1")
        return train(*given, **more)

    monkeypatch.setattr(run_module, "train", overtaken)
    with pytest.raises(TrainingError, match="a newer training has begun in this folder"):
        trained()
    assert not HISTORY.exists()


def test_the_checkpoint_stays_until_everything_is_written(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(model: keras.Model, path: Path) -> None:
        raise InputError(f"{path}: no room")

    monkeypatch.setattr(run_module, "save_model", fail)
    with pytest.raises(InputError, match="no room"):
        trained()
    assert len(files(CHECKPOINTS)) == 2
    assert not METRICS.exists()


def test_a_recipe_is_trained(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the real network and loop, measured anew by the saved model's answers."""
    monkeypatch.setattr(device, "GPUS", [])
    recipe = tiny("tutorial", batch_size=10, epochs=1)
    run("mine", recipe, 3, "auto", TRAINING, VALIDATION)
    loaded = keras.saving.load_model(MODEL, safe_mode=True)
    answers = np.asarray(loaded(VALIDATION[0]), np.float64)
    loss = -np.log(answers[np.arange(5), VALIDATION[1]]).mean()
    results = json.loads(METRICS.read_text())
    assert results["val_loss"] == pytest.approx(loss, rel=1e-4)
    assert results["val_accuracy"] == pytest.approx((answers.argmax(1) == VALIDATION[1]).mean())
    (sizes,) = results["sizes"]
    assert (results["epochs"], sizes["images"]) == (1, 20)
    assert sizes["parameters"] == loaded.count_params()
    with HISTORY.open() as file:
        (row,) = csv.DictReader(file)
    assert (row["epoch"], row["learning_rate"]) == ("1", "0.001")
    for name, short in (("train_loss", "loss"), ("train_accuracy", "accuracy")):
        assert results[name] == float(row[short])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["device:", "epoch", "trained"]
