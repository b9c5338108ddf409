"""The template of DVC's page of plots: what it holds, and how DVC is told of it."""

import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import vl_convert
from dvc.repo import Repo
from dvc_render.html import HTML  # type: ignore[import-untyped]

from stages.errors import InputError
from tests.project import ROOT
from tools.page import main, page

DRAW = (ROOT / "tools/page.js").read_text()
# A bundle like Vega's, but short, and with what would end its element.
BUNDLE = "const text = '</script><b>Ü</b>';"
# The same string for JavaScript.
WRITTEN = "const text = '<\\/script><b>Ü</b>';"


@pytest.fixture(autouse=True)
def bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the bundle be short: building the real one takes seconds."""
    monkeypatch.setattr(vl_convert, "javascript_bundle", lambda code: BUNDLE + code)


class Elements(HTMLParser):
    """The elements of a page, in order, each with its attributes and its own text."""

    def __init__(self, text: str):
        """Parse a page."""
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None], str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.found.append((tag, dict(attrs), ""))

    def handle_data(self, data: str) -> None:
        """Add to an element's text."""
        if self.found:
            tag, attributes, text = self.found[-1]
            self.found[-1] = (tag, attributes, text + data.strip())


def test_dvc_fills_the_page() -> None:
    document = HTML(page(), refresh_seconds=7)
    # What DVC wants to load from the internet has no place in it.
    document.with_scripts('<script src="https://elsewhere/vega.js"></script>')
    document.with_element('<div id="a">first</div>').with_element('<div id="b">second</div>')
    found = Elements(document.embed()).found
    style = found.pop(6)
    assert style[0] == "style"
    assert "img { max-width: 100%; height: auto; }" in style[2]
    assert found == [
        ("html", {"lang": "en"}, ""),
        ("head", {}, ""),
        ("meta", {"charset": "utf-8"}, ""),
        ("meta", {"name": "viewport", "content": "width=device-width"}, ""),
        ("meta", {"http-equiv": "refresh", "content": "7"}, ""),
        ("title", {}, "CIFAR-10: plots"),
        ("script", {}, WRITTEN + DRAW.strip()),
        ("body", {}, ""),
        ("header", {}, ""),
        ("h1", {}, "CIFAR-10"),
        ("div", {"id": "a"}, "first"),
        ("div", {"id": "b"}, "second"),
        ("script", {}, "describe();"),
    ]


def test_nothing_is_left_to_fill() -> None:
    text = HTML(page()).embed()
    assert text.startswith("<!DOCTYPE html>\n")
    assert not any(name in text for name in ("{plot_divs}", "{refresh_tag}", "VEGA"))


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], Path]]:
    """Return the commands that are run, which succeed without doing anything, and where."""
    found: list[tuple[list[str], Path]] = []

    def run(command: list[str], cwd: Path, **settings: Any) -> subprocess.CompletedProcess[str]:
        found.append((command, cwd.resolve()))
        return subprocess.CompletedProcess(command, returncode=0)

    monkeypatch.setattr(subprocess, "run", run)
    return found


@pytest.mark.parametrize("inside", [".", "a folder"])
def test_template_is_the_project_s(
    folder: Path,
    commands: list[tuple[list[str], Path]],
    call: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    inside: str,
) -> None:
    Repo.init(".", no_scm=True).close()
    capsys.readouterr()
    (folder / inside).mkdir(exist_ok=True)
    monkeypatch.chdir(inside)
    call(main)
    assert (folder / ".dvc/page.html").read_bytes() == page().encode("utf-8")
    setting = ["config", "--local", "plots.html_template", "page.html"]
    assert commands == [([sys.executable, "-m", "dvc", *setting], folder.resolve())]
    assert capsys.readouterr().out == (
        "dvc plots show and dvc plots diff draw offline now, with .dvc/page.html\n"
    )


def test_dvc_that_fails(
    folder: Path,
    call: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It has said why itself."""
    Repo.init(".", no_scm=True).close()
    capsys.readouterr()
    failed = subprocess.CompletedProcess[str]([], returncode=255)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(SystemExit) as left:
        call(main)
    assert left.value.code == 2
    assert capsys.readouterr() == ("", "")


def test_no_project(
    folder: Path, commands: list[tuple[list[str], Path]], call: Callable[..., None]
) -> None:
    with pytest.raises(InputError) as caught:
        call(main)
    message = str(caught.value)
    assert message.startswith("dvc.yaml: missing; you are not inside of a DVC repository (checked ")
    assert message.isprintable()
    assert not commands
    assert not [*folder.iterdir()]


def test_help(
    folder: Path,
    commands: list[tuple[list[str], Path]],
    help_of: Callable[[Callable[[], None]], str],
) -> None:
    """It says what would be done, and does none of it."""
    Repo.init(".", no_scm=True).close()
    text = help_of(main)
    assert text.startswith(
        "usage: python -m tools page [-h] Let DVC's page of plots work offline. "
    )
    assert not commands
    assert not (folder / ".dvc/page.html").exists()
