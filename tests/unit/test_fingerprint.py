"""What a checkpoint's name depends on: settings, data and code, and nothing else."""

import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from stages.train.fingerprint import fingerprint

SETTINGS = [0, {"rate": 1.0, "epochs": 2}]
ZEROS, ONES = np.zeros((2, 3)), np.ones((2, 3))


def import_from(patch: pytest.MonkeyPatch, name: str, path: Path | None) -> None:
    """Let a module be imported by now, from a file."""
    module = ModuleType(name)
    if path:
        module.__file__ = str(path)
    patch.setitem(sys.modules, name, module)


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


def test_the_code_of_each_imported_module_of_the_program_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [fingerprint(SETTINGS)]
    for content in (b"x = 1", b"x = 2"):
        (tmp_path / "one.py").write_bytes(content)
        import_from(monkeypatch, "stages.models.one", tmp_path / "one.py")
        names.append(fingerprint(SETTINGS))
    assert len(set(names)) == 3
    (tmp_path / "stages.py").write_bytes(b"")
    import_from(monkeypatch, "stages", tmp_path / "one.py")
    assert fingerprint(SETTINGS) not in names


def test_the_order_of_imports_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = set()
    for order in ("ab", "ba"):
        for name in order:
            (tmp_path / name).write_text(name)
            monkeypatch.delitem(sys.modules, f"stages.{name}", raising=False)
            import_from(monkeypatch, f"stages.{name}", tmp_path / name)
        names.add(fingerprint(SETTINGS))
    assert len(names) == 1


@pytest.mark.parametrize("name", ["stages_of_another", "other.stages", "other"])
def test_other_modules_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    before = fingerprint(SETTINGS)
    (tmp_path / "one.py").write_bytes(b"x = 1")
    import_from(monkeypatch, name, tmp_path / "one.py")
    # A folder without an __init__.py is a module without a file.
    import_from(monkeypatch, "stages.folder", None)
    assert fingerprint(SETTINGS) == before
