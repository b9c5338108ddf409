"""A training goes on where all that its weights depend on is the same, and only there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages import device  # First, since TensorFlow reads what it sets.
from stages.train import cluster, fingerprint
from stages.train.params import Recipe
from stages.train.recipes import Training
from stages.train.run import run
from tests.unit.other_values import keys_of, with_another
from tests.unit.test_environment import FACTS
from tests.unit.tiny import (
    AIRBENCH,
    ROWS,
    TUTORIAL,
    Killed,
    Loop,
    images,
    small_network,
    training_of,
)

import keras  # isort: skip
import tensorflow as tf  # isort: skip

Arguments = dict[str, Any]
Change = Callable[[Arguments], object]


@pytest.fixture(scope="module")
def training() -> Training:
    return training_of(small_network())


@pytest.fixture
def loop(folder: Path, monkeypatch: pytest.MonkeyPatch, training: Training) -> Loop:
    """Return a loop that is killed in the second epoch."""
    loop = Loop().install(monkeypatch)
    loop.training = training
    loop.killed_after = 1
    return loop


def arguments(recipe: Recipe = TUTORIAL) -> Arguments:
    return {
        "name": "mine",
        "recipe": recipe,
        "seed": 0,
        "wanted": "auto",
        "training_data": images(20, 0),
        "validation_data": images(5, 1),
    }


def killed(given: Arguments) -> None:
    with pytest.raises(Killed):
        run(**given)


def checkpoints() -> list[str]:
    return sorted(path.name for path in Path(".dvc/tmp/checkpoints").glob("*.npz"))


def assert_dropped(
    loop: Loop, given: Arguments, change: Callable[[], object], capsys: pytest.CaptureFixture[str]
) -> None:
    """Assert that after a change a training begins anew, and the other's checkpoint is dropped."""
    killed(given)
    (before,) = checkpoints()
    capsys.readouterr()
    change()
    killed(given)
    assert loop.trained[2] == []
    assert capsys.readouterr().out.splitlines()[1:] == [
        f"dropped a checkpoint of other parameters, data, code or versions: {before}"
    ]
    (after,) = checkpoints()
    assert after != before


@pytest.mark.parametrize(
    ("recipe", "key"),
    [(recipe, key) for recipe in (TUTORIAL, AIRBENCH) for key in keys_of(recipe)],
    ids=lambda value: value if isinstance(value, str) else value.network.name,
)
def test_each_parameter_of_the_recipe_counts(
    loop: Loop, capsys: pytest.CaptureFixture[str], recipe: Recipe, key: str
) -> None:
    given = arguments(recipe)
    changed = with_another(recipe, key)
    assert_dropped(loop, given, lambda: given.update(recipe=changed), capsys)


def test_the_seed_counts(loop: Loop, capsys: pytest.CaptureFixture[str]) -> None:
    given = arguments()
    assert_dropped(loop, given, lambda: given.update(seed=1), capsys)


@pytest.mark.parametrize("name", ["training_data", "validation_data"])
@pytest.mark.parametrize("part", [0, 1], ids=["images", "labels"])
def test_the_data_count(
    loop: Loop, capsys: pytest.CaptureFixture[str], name: str, part: int
) -> None:
    given = arguments()
    array = given[name][part]

    def change_the_last() -> None:
        array[-1:] += 1

    assert_dropped(loop, given, change_the_last, capsys)


@pytest.mark.parametrize("name", ["training_data", "validation_data"])
@pytest.mark.parametrize("part", [0, 1], ids=["images", "labels"])
def test_the_shape_of_the_same_bytes_counts(
    loop: Loop, capsys: pytest.CaptureFixture[str], name: str, part: int
) -> None:
    given = arguments()
    arrays = list(given[name])

    def reshape() -> None:
        arrays[part] = arrays[part][..., None]
        given[name] = tuple(arrays)

    assert_dropped(loop, given, reshape, capsys)


@pytest.mark.parametrize("fact", FACTS)
def test_each_fact_of_the_environment_counts(
    loop: Loop,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fact: str,
) -> None:
    (tmp_path / "cpuinfo").write_text("vendor_id : Maker\n")
    assert_dropped(loop, arguments(), lambda: FACTS[fact](monkeypatch, tmp_path), capsys)


def test_the_device_counts(
    loop: Loop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def add_a_gpu() -> None:
        monkeypatch.setattr(device, "GPUS", ["one"])
        monkeypatch.setattr(tf.config, "set_visible_devices", lambda *_: None)
        monkeypatch.setattr(tf.config.experimental, "set_memory_growth", lambda *_: None)
        monkeypatch.setattr(tf.config, "get_visible_devices", lambda _: ["one"])
        monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda _: {})

    monkeypatch.setattr(device, "GPUS", [])
    assert_dropped(loop, arguments(), add_a_gpu, capsys)
    assert loop.assembled[4] is False
    assert loop.on_gpu is True


def test_which_gpu_counts(
    loop: Loop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def take(name: str) -> None:
        details = {"device_name": name}
        monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda _: details)

    monkeypatch.setattr(device, "GPUS", ["one"])
    for name in ("set_visible_devices", "set_logical_device_configuration"):
        monkeypatch.setattr(tf.config, name, lambda *_: None)
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda _: ["one"])
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", lambda *_: None)
    take("A100")
    assert_dropped(loop, arguments(), lambda: take("H100"), capsys)


def test_the_precision_counts(
    loop: Loop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "GPUS", [])
    given = arguments()
    assert_dropped(loop, given, lambda: given.update(precision="bfloat16"), capsys)
    assert loop.assembled[4] is True
    assert loop.on_gpu is False


def test_the_code_counts(
    loop: Loop,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "train/optimizer.py"
    path.parent.mkdir()
    path.write_text("a = 1")
    monkeypatch.setattr(fingerprint, "STAGES", tmp_path)
    assert_dropped(loop, arguments(), lambda: path.write_text("a = 2"), capsys)


def test_the_number_of_devices_counts(
    loop: Loop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "GPUS", [])
    monkeypatch.setattr(tf.config, "set_logical_device_configuration", lambda *_: None)
    strategy_on = cluster.strategy_on
    monkeypatch.setattr(cluster, "strategy_on", lambda places: strategy_on(places[:1]))
    given = arguments()
    assert_dropped(loop, given, lambda: given.update(devices=2), capsys)


UNIMPORTANT: dict[str, Change] = {
    "nothing": lambda given: None,
    "the wish for the device that it is": lambda given: given.update(wanted="cpu"),
    "the wish for the precision that it is": lambda given: given.update(precision="float32"),
    "the recipe's name": lambda given: given.update(name="other"),
    "the layout in memory": lambda given: given.update(
        training_data=(np.asfortranarray(given["training_data"][0]), given["training_data"][1])
    ),
    "other random numbers drawn": lambda given: keras.utils.set_random_seed(99),
}


@pytest.mark.parametrize("name", UNIMPORTANT)
def test_nothing_else_counts(
    loop: Loop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(device, "GPUS", [])
    given = arguments()
    killed(given)
    (checkpoint,) = checkpoints()
    capsys.readouterr()
    UNIMPORTANT[name](given)
    killed(given)
    assert loop.trained[2] == [ROWS[0] | {"learning_rate": 0.1}]
    assert capsys.readouterr().out.splitlines()[1:] == [
        f"going on after epoch 1, from {checkpoint}"
    ]
    assert checkpoints() == [checkpoint]
    assert len(ROWS) == 2
