"""The closure rule: a stage declares in dvc.yaml exactly what it imports and reads.

Imports are followed in the source, so that one inside a function counts too; files and parameters
are noted while each stage runs for real.
"""

import ast
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.imports import HEAVY, reached
from tests.project import ROOT, STAGES, Project, default_params, get, run

CODE = ("stages/", "pipeline/")
DATA = ("data/", "models/", "metrics/", "plots/")


def stage_of(name: str, root: Path = ROOT) -> dict[str, Any]:
    text = (root / "dvc.yaml").read_text()
    for key in ("dataset.path", "start_from"):
        text = text.replace(f"${{{key}}}", get(default_params(), key))
    return yaml.safe_load(text)["stages"][name]


def covers(dependency: str, path: str) -> bool:
    return path == dependency or path.startswith(f"{dependency}/")


def disagreements(declared: set[str], used: set[str]) -> list[str]:
    """Name what is used and not declared, and what is declared and not used.

    A folder is used where one file of it is.
    """
    undeclared = [u for u in used if not any(covers(d, u) for d in declared)]
    unused = [d for d in declared if not any(covers(d, u) for u in used)]
    return sorted([f"{u}: not declared" for u in undeclared] + [f"{d}: not used" for d in unused])


def has_code(file: Path) -> bool:
    """Return whether there is more in a file than its docstring, which changes no output."""
    module = ast.parse(file.read_text())
    return len(module.body) > (ast.get_docstring(module) is not None)


def source_disagreements(stage: str, root: Path = ROOT) -> list[str]:
    declared = {dep for dep in stage_of(stage, root)["deps"] if dep.startswith(CODE)}
    used, _ = reached(f"stages.{stage}", root)
    return disagreements(declared, {file for file in used if has_code(root / file)})


@pytest.mark.parametrize("stage", STAGES)
def test_imports_are_declared(stage: str) -> None:
    assert source_disagreements(stage) == []


@pytest.mark.parametrize("stage", ["fetch", "preprocess", "plots"])
def test_only_training_and_evaluation_import_tensorflow(stage: str) -> None:
    _, packages = reached(f"stages.{stage}", ROOT)
    assert packages & HEAVY == set()


def test_wrong_declarations_are_found(tmp_path: Path) -> None:
    for package in ("stages", "pipeline"):
        shutil.copytree(ROOT / package, tmp_path / package)
    text = (ROOT / "dvc.yaml").read_text()
    stage = "stages/preprocess.py"
    assert text.count(stage) == 1
    (tmp_path / "dvc.yaml").write_text(text.replace(stage, f"{stage}, pipeline/networks"))
    with (tmp_path / stage).open("a") as file:
        file.write("\n\ndef late() -> None:\n    from pipeline import figures\n")
    assert source_disagreements("preprocess", tmp_path) == [
        "pipeline/figures.py: not declared",
        "pipeline/networks: not used",
    ]


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
def test_what_is_read_is_declared(traces: dict[str, Any], stage: str) -> None:
    declared, trace = stage_of(stage), traces[stage]
    # A stage may read again what it wrote, or is about to put in its place.
    outs = [
        out if isinstance(out, str) else next(iter(out))
        for kind in ("outs", "metrics", "plots")
        for out in declared.get(kind, [])
    ]
    files = {
        file
        for file in trace["files"]
        if file.startswith(DATA)
        and not any(covers(out, file) for out in outs)
        and not Path(file).name.startswith(".unfinished-")
    }
    # What nothing reads: it says that a training begins from scratch.
    data = {d for d in declared["deps"] if d.startswith(DATA)} - {"models/none"}
    assert disagreements(data, files) == []
    assert set(trace["keys"]) == {param.partition(".")[0] for param in declared["params"]}
    assert set(trace["sources"]) <= reached(f"stages.{stage}", ROOT)[0]
