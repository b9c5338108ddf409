"""The closure rule: a stage declares in dvc.yaml exactly what it imports and reads.

Imports are followed in the source, so that one inside a function counts too; files and parameters
are noted while each stage runs for real.
"""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.imports import HEAVY, reached, sources
from tests.project import ROOT, STAGES, Project, default_params, run

# Refuses what later stages would refuse, so no output depends on what it imports and reads.
LATER, LATER_KEYS = "stages/train/later.py", {"train": {"evaluate", "plots"}}


def covers(dependency: str, path: str) -> bool:
    return path == dependency or path.startswith(f"{dependency}/")


def disagreements(declared: set[str], used: set[str]) -> list[str]:
    """Name what is used and not declared, and what is declared and not used."""
    undeclared = [u for u in used if not any(covers(d, u) for d in declared)]
    unused = [d for d in declared if not any(covers(d, u) for u in used)]
    return sorted([f"{u}: not declared" for u in undeclared] + [f"{d}: not used" for d in unused])


def pipeline(root: Path) -> dict[str, Any]:
    return yaml.safe_load((root / "dvc.yaml").read_text())["stages"]


def source_disagreements(stage: str, root: Path) -> list[str]:
    declared = {dep for dep in pipeline(root)[stage]["deps"] if dep.startswith("stages/")}
    used, _ = reached(f"stages.{stage}", root, not_through={LATER})
    # Every file of a declared folder counts as declared, so each must be used.
    inside = {file for folder in declared for file in sources(folder, root)}
    return disagreements(declared, used) + sorted(f"{f}: not used" for f in inside - used)


@pytest.mark.parametrize("stage", STAGES)
def test_imports_are_declared(stage: str) -> None:
    assert source_disagreements(stage, ROOT) == []


@pytest.mark.parametrize("stage", ["fetch", "preprocess", "plots"])
def test_only_training_and_evaluation_import_tensorflow(stage: str) -> None:
    _, packages = reached(f"stages.{stage}", ROOT)
    assert packages & HEAVY == set()


def test_an_undeclared_import_is_found(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "stages", tmp_path / "stages")
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    with (tmp_path / "stages/plots/style.py").open("a") as file:
        file.write("\n\ndef late() -> None:\n    from stages.train import run\n")
    found = source_disagreements("plots", tmp_path)
    assert "stages/train/muon.py: not declared" in found
    assert "stages/device.py: not declared" in found


def test_an_unused_dependency_is_found(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "stages", tmp_path / "stages")
    text = (ROOT / "dvc.yaml").read_text()
    assert "      - stages/preprocess\n" in text
    added = "      - stages/preprocess\n      - stages/models\n"
    (tmp_path / "dvc.yaml").write_text(text.replace("      - stages/preprocess\n", added))
    (tmp_path / "stages/preprocess/leftover.py").touch()
    assert set(source_disagreements("preprocess", tmp_path)) >= {
        "stages/models: not used",
        "stages/preprocess/leftover.py: not used",
    }


@pytest.fixture(scope="module")
def traces(
    make_project: Callable[[Path], Project], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """Return what each stage read when it ran."""
    folder = tmp_path_factory.mktemp("traced")
    make_project(folder)
    reports = {}
    for stage in STAGES:
        report = folder / f"{stage}.json"
        command = [sys.executable, str(ROOT / "tests/traced_stage.py"), stage, str(report)]
        result = run(command, folder, PYTHONPATH="")
        assert result.returncode == 0, result.stderr
        reports[stage] = json.loads(report.read_text())
    return reports


@pytest.mark.parametrize("stage", STAGES)
def test_read_files_are_declared(traces: dict[str, Any], stage: str) -> None:
    declared = {dep for dep in pipeline(ROOT)[stage]["deps"] if not dep.startswith("stages/")}
    data = ("data/", "models/", "metrics/", "plots/")
    # A stage may read again what it wrote, or is about to put in its place.
    outs = [
        out if isinstance(out, str) else next(iter(out))
        for kind in ("outs", "metrics", "plots")
        for out in pipeline(ROOT)[stage].get(kind, [])
    ]
    used = {
        file
        for file in traces[stage]["files"]
        if file.startswith(data) and not any(covers(out, file) for out in outs)
    }
    used = {file for file in used if not Path(file).name.startswith(".unfinished-")}
    assert disagreements(declared, used) == []


@pytest.mark.parametrize("stage", STAGES)
def test_read_parameters_are_declared(traces: dict[str, Any], stage: str) -> None:
    recipe = default_params()["recipe"]
    params = pipeline(ROOT)[stage]["params"]
    declared = {param.replace("${recipe}", recipe) for param in params}
    later = LATER_KEYS.get(stage, set())
    assert later <= set(traces[stage]["keys"])
    used = {key.replace(".", "/") for key in set(traces[stage]["keys"]) - later}
    assert disagreements({key.replace(".", "/") for key in declared}, used) == []


@pytest.mark.parametrize("stage", STAGES)
def test_loaded_modules_were_foreseen(traces: dict[str, Any], stage: str) -> None:
    assert set(traces[stage]["sources"]) <= reached(f"stages.{stage}", ROOT)[0]
