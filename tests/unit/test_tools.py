"""The list of tools, and how one of them is run."""

import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stages.errors import InputError
from tests.project import TOOLS
from tools import __main__ as program
from tools.__main__ import main, tools

LIST = """\
usage: python -m tools NAME [ARGUMENT...]

compare     Tell whether one model is better than another.
export      Convert the trained model into one portable file.
importance  Show how the parameters of experiments affect a metric.
page        Let DVC's page of plots work offline.
predict     Classify pictures with the trained model.
schema      Print the JSON schema of params.yaml, by which editors complete and check it.
sweep       Try many values of parameters at once and list the best.
"""


@pytest.fixture(autouse=True)
def plain_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a failure be raised, and what is printed be captured."""
    monkeypatch.setattr(program, "exit_with_message", lambda function: function())


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Return a list of the modules that are run, each with its arguments, instead of running it."""
    found: list[tuple[Any, ...]] = []

    def run_module(name: str, **settings: object) -> None:
        found.append((name, settings, sys.argv[1:]))

    monkeypatch.setattr(runpy, "run_module", run_module)
    return found


def test_every_tool_is_known() -> None:
    assert tuple(tools()) == TOOLS


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"], ["--help", "compare"]], ids=str)
def test_list(
    call: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    runs: list[tuple[Any, ...]],
    arguments: list[str],
) -> None:
    call(main, *arguments)
    assert capsys.readouterr() == (LIST, "")
    assert not runs


@pytest.mark.parametrize("name", TOOLS)
def test_a_tool_gets_its_arguments(
    call: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    runs: list[tuple[Any, ...]],
    name: str,
) -> None:
    call(main, name)
    call(main, name, "a", name, "--help")
    assert capsys.readouterr() == ("", "")
    settings = {"run_name": "__main__", "alter_sys": True}
    expected = [[], ["a", name, "--help"]]
    assert runs == [(f"tools.{name}", settings, arguments) for arguments in expected]


@pytest.mark.parametrize("name", ["", "Compare", "__init__", "--version", "a\nb"])
def test_unknown_name_is_refused(
    call: Callable[..., None], runs: list[tuple[Any, ...]], name: str
) -> None:
    with pytest.raises(InputError) as caught:
        call(main, name, "compare")
    allowed = "compare, export, importance, page, predict, schema, sweep"
    assert str(caught.value) == f"{name!r}: no tool; allowed are {allowed}"
    assert not runs


def test_what_lies_beside_the_tools(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders without an entry point and what an editor leaves are no tools."""
    sources = {
        "b.py": '"""Do it.\n\nAt length."""',
        "c.py": "",
        "a/__main__.py": '"""Dö it, too."""',
        "a/part.py": '"""A part."""',
        "d/e.py": '"""None."""',
        "__init__.py": '"""None."""',
        ".#b.py": '"""None."""',
        "b.txt": "",
    }
    for name, source in sources.items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(source, encoding="utf-8")
    monkeypatch.setattr(program, "FOLDER", folder)
    assert list(tools().items()) == [("a", "Dö it, too."), ("b", "Do it."), ("c", "")]
