"""What a checkpoint's name depends on: settings, data and code, and nothing else."""

import re
from pathlib import Path

import numpy as np
import pytest

from stages.train import fingerprint as module
from stages.train.fingerprint import fingerprint
from tests.project import ROOT

SETTINGS = [0, {"rate": 1.0, "epochs": 2}]
ZEROS, ONES = np.zeros((2, 3)), np.ones((2, 3))


def test_it_is_32_hexadecimal_digits() -> None:
    assert re.fullmatch("[0-9a-f]{32}", fingerprint(SETTINGS, ZEROS))


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


def test_each_of_several_arrays_counts_in_its_place() -> None:
    given = [
        (ZEROS, ZEROS),
        (ONES, ZEROS),
        (ZEROS, ONES),
        (ZEROS.ravel(), ZEROS),
        (ZEROS, ZEROS.ravel()),
        (ZEROS, ZEROS, ZEROS),
    ]
    assert len({fingerprint(SETTINGS, *arrays) for arrays in given}) == len(given)


def test_the_last_byte_of_an_array_counts() -> None:
    changed = np.zeros(1000, np.uint8)
    changed[-1] = 1
    assert fingerprint(SETTINGS, changed) != fingerprint(SETTINGS, np.zeros(1000, np.uint8))


def test_the_order_of_keys_and_of_memory_does_not_count() -> None:
    array = np.arange(6).reshape(2, 3)
    assert fingerprint(SETTINGS, array) == fingerprint(
        [0, {"epochs": 2, "rate": 1.0}], np.asfortranarray(array)
    )


@pytest.fixture
def stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of stages with a few files."""
    monkeypatch.setattr(module, "STAGES", tmp_path)
    for name in ("shared.py", "train/loop.py", "models/own/layers.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x = 1")
    return tmp_path


@pytest.mark.parametrize(
    "name", ["shared.py", "train/loop.py", "models/own/layers.py", "train/new.py"]
)
def test_the_code_counts_that_a_training_may_import(stages: Path, name: str) -> None:
    """Whether or not it has been imported: an optimizer's module is imported later."""
    names = {fingerprint(SETTINGS)}
    for content in ("x = 2", "x = 3"):
        (stages / name).write_text(content)
        names.add(fingerprint(SETTINGS))
    assert len(names) == 3


def test_the_names_of_files_count(stages: Path) -> None:
    before = fingerprint(SETTINGS)
    (stages / "train/loop.py").rename(stages / "train/other.py")
    assert fingerprint(SETTINGS) != before


@pytest.mark.parametrize(
    "name",
    [
        *("evaluate/inference.py", "shared.pyc", "train/notes.txt", "train/._loop.py"),
        *("train/.ipynb_checkpoints/loop.py", "models/own/layers_BASE_12.py"),
    ],
)
def test_other_files_do_not_count(stages: Path, name: str) -> None:
    before = fingerprint(SETTINGS)
    (stages / name).parent.mkdir(exist_ok=True)
    (stages / name).write_text("x = 1")
    # By which Emacs locks a file.
    (stages / "train/.#loop.py").symlink_to("user@host.123:456")
    assert fingerprint(SETTINGS) == before


def test_it_is_of_the_files_of_this_program() -> None:
    found = {p.relative_to(ROOT).as_posix() for c in module.CODE for p in module.STAGES.glob(c)}
    expected = {"errors.py", "train/muon.py", "train/warmup.py", "models/winograd.py"}
    assert {f"stages/{name}" for name in expected} <= found
