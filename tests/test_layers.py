"""Where code belongs: imports run one way, and stages/ holds nothing that only a user runs."""

import shutil
import sys
from pathlib import Path

import pytest

from tests.imports import HEAVY, LAYERS, imported, reached, sources
from tests.project import ROOT, STAGES, TOOLS, run


def upward_imports(layer: str, root: Path) -> list[str]:
    """Name what a package imports that is built on it."""
    above = LAYERS[: LAYERS.index(layer)]
    return sorted(
        f"{file}: imports {name}"
        for file in sources(layer, root)
        for name in imported(root / file)
        if name.split(".")[0] in above
    )


def badly_shared(root: Path) -> list[str]:
    """Name the modules beside the stages that are not shared, or not by any stage."""
    by_stage = {name: reached(f"stages.{name}", root)[0] for name in STAGES}
    by_tool = {name: reached(f"tools.{name}", root)[0] for name in TOOLS}
    found = []
    for path in (root / "stages").glob("*.py"):
        file = f"stages/{path.name}"
        stages, tools = (
            [name for name, files in by.items() if file in files] for by in (by_stage, by_tool)
        )
        if not stages or len(stages + tools) < 2:
            found.append(f"{file}: only for {', '.join(stages + tools) or 'nobody'}")
    return sorted(found)


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_run_one_way(layer: str) -> None:
    assert upward_imports(layer, ROOT) == []


def test_folders_of_the_stages() -> None:
    folders = {Path(file).parts[1] for file in sources("stages", ROOT) if file.count("/") > 1}
    assert folders == {*STAGES, "models"}


def test_every_source_belongs_to_a_stage_or_tool() -> None:
    used = {file for name in STAGES for file in reached(f"stages.{name}", ROOT)[0]}
    assert used == sources("stages", ROOT)
    entries = ["tools", *(f"tools.{name}" for name in TOOLS)]
    used = {file for name in entries for file in reached(name, ROOT)[0]}
    assert used >= sources("tools", ROOT)


def test_what_lies_beside_the_stages_is_shared() -> None:
    assert badly_shared(ROOT) == []


def test_tools_start_without_tensorflow() -> None:
    """It takes seconds, so a tool that needs it checks its arguments first."""
    program = "import sys, tools.__main__"
    for name in TOOLS:
        entry = f"tools.{name}.__main__" if (ROOT / "tools" / name).is_dir() else f"tools.{name}"
        program += f"; import {entry}; print('{name}', *{HEAVY} & set(sys.modules))"
    result = run([sys.executable, "-c", program], ROOT)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == [*TOOLS]


def test_misplaced_code_is_found(tmp_path: Path) -> None:
    for package in ("stages", "tools"):
        shutil.copytree(ROOT / package, tmp_path / package)
    with (tmp_path / "stages/plots/style.py").open("a") as file:
        file.write("\n\ndef late() -> None:\n    from tools import schema, export\n")
    (tmp_path / "stages/unused.py").touch()
    (tmp_path / "stages/helper.py").touch()
    with (tmp_path / "tools/page.py").open("a") as file:
        file.write("\nfrom stages import helper\n")
    assert upward_imports("stages", tmp_path) == [
        "stages/plots/style.py: imports tools",
        "stages/plots/style.py: imports tools.export",
        "stages/plots/style.py: imports tools.schema",
    ]
    assert badly_shared(tmp_path) == [
        "stages/helper.py: only for page",
        "stages/unused.py: only for nobody",
    ]
