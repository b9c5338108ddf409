"""The closure rule: a stage declares in dvc.yaml exactly what it imports and reads.

Imports are followed in the source, so that one inside a function counts too; files and parameters
are noted while each stage runs for real.
"""

import ast
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.project import ROOT, STAGES, MakeProject, default_params, get

# The project's own packages.
OWN = {"tests", "benchmarks", "tools", "stages", "pipeline"}
CODE = ("stages/", "pipeline/")
DATA = ("data/", "models/", "metrics/", "plots/")


def stage_of(name: str) -> dict[str, Any]:
    text = (ROOT / "dvc.yaml").read_text()
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


def files_of(module: str) -> list[Path]:
    """Return the project's files that importing `module` runs, parents included."""
    path = ROOT.joinpath(*module.split("."))
    packages = [folder / "__init__.py" for folder in (path, *path.parents)]
    return [file for file in (*packages, path.with_suffix(".py")) if file.exists()]


def imported(file: Path) -> set[str]:
    """Return the names of all modules that a source file may import, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            names |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def reached(module: str) -> tuple[set[str], set[str]]:
    """Return the project's files and the other packages that `python -m MODULE` imports."""
    queue, files, packages = files_of(module), set(), set()
    while queue:
        file = queue.pop()
        if file in files:
            continue
        files.add(file)
        for name in imported(file):
            package = name.split(".")[0]
            if package in OWN:
                queue += files_of(name)
            else:
                packages.add(package)
    return {file.relative_to(ROOT).as_posix() for file in files}, packages


def has_code(file: Path) -> bool:
    """Return whether there is more in a file than its docstring, which changes no output."""
    module = ast.parse(file.read_text())
    return len(module.body) > (ast.get_docstring(module) is not None)


@pytest.mark.parametrize("stage", STAGES)
def test_imports_are_declared(stage: str) -> None:
    declared = {dep for dep in stage_of(stage)["deps"] if dep.startswith(CODE)}
    used, packages = reached(f"stages.{stage}")
    assert disagreements(declared, {file for file in used if has_code(ROOT / file)}) == []
    # Which take seconds to start.
    assert bool(packages & {"tensorflow", "keras"}) == (stage in ("train", "evaluate"))


@pytest.fixture(scope="module")
def traces(make_project: MakeProject, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return what each stage read when it ran."""
    project = make_project(tmp_path_factory.mktemp("traced"))
    for stage in STAGES:
        project.call("python", f"{ROOT}/tests/traced_stage.py", stage, f"{stage}.json")
    return {stage: project.json(f"{stage}.json") for stage in STAGES}


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
