"""DVC's pages of plots in a real browser, without a network."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser

from tests.project import Edited, Project, assert_refused, run

TABLES = ("calibration", "corruptions", "history", "predictions")
FILES = [f"plots_{table}_csv" for table in TABLES]
CHARTS = ["accuracy", "confusion", "f1", "loss", *FILES]
IMAGES = [
    *("confusion", "corruptions", "history", "mistakes", "predictions", "reliability", "samples"),
]
# Of a chart, the shapes that it draws of data, not axes, legends and background.
MARKS = "g.mark-line path, g.mark-rect path, g.mark-symbol.role-mark path"
DRAWN = f"""() => Object.fromEntries([...document.querySelectorAll('.vega-embed')].map(
    chart => [chart.id, [...chart.querySelectorAll('{MARKS}')].filter(
        mark => mark.getTotalLength() > 0).length]))"""
SIZES = """() => Object.fromEntries([...document.images].map(
    image => [image.src.split('/').pop(), [image.naturalWidth, image.naturalHeight]]))"""
# Symbols of legends that nobody sees: no line around them, and no area.
UNSEEN = """() => [...document.querySelectorAll('g.role-legend-symbol path')].filter(symbol =>
    ['none', 'rgba(0, 0, 0, 0)'].includes(getComputedStyle(symbol).stroke) &&
    !symbol.getBBox().height).length"""
# Images that reach out of the block of their plot.
CUT = """() => [...document.images].filter(image => image.getBoundingClientRect().right >
    image.closest('body > div').getBoundingClientRect().right).map(image => image.src)"""


@pytest.fixture(scope="module")
def project(edited: Edited, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a project with the page's template and one result other than the last commit's."""
    project = edited(tmp_path_factory.mktemp("page"), "evaluate.tta", "none")
    result = run(["python", "-m", "tools", "page"], project.folder, PYTHONPATH="")
    assert result.returncode == 0, result.stderr
    return project


def test_page_made_elsewhere(make_project: Callable[[Path], Project], tmp_path: Path) -> None:
    """In a folder of the project it is the project's; in another there is none to be made."""
    project = make_project(tmp_path / "project")
    result = run(["python", "-m", "tools", "page"], project.folder / "stages")
    assert result.returncode == 0, result.stderr
    assert "page.html" in (project.folder / ".dvc/config.local").read_text()
    assert (project.folder / ".dvc/page.html").exists()
    assert not (project.folder / "stages/.dvc").exists()
    other = tmp_path / "other"
    other.mkdir()
    assert_refused(run(["python", "-m", "tools", "page"], other), "dvc.yaml: missing; ")
    assert not [*other.iterdir()]


@pytest.mark.parametrize(
    ("command", "revisions"),
    [(["show"], ["workspace"]), (["diff"], ["workspace", "HEAD"])],
    ids=str,
)
def test_page_is_drawn_without_a_network(
    project: Project, browser: Browser, tmp_path: Path, command: list[str], revisions: list[str]
) -> None:
    project.dvc("plots", *command, "--out", str(tmp_path))
    context = browser.new_context(viewport={"width": 1400, "height": 1000}, offline=True)
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
    page.on(
        "request", lambda r: None if r.url.startswith(("file:", "data:")) else wrong.append(r.url)
    )
    page.goto((tmp_path / "index.html").as_uri())
    page.wait_for_function(
        f"document.querySelectorAll('.vega-embed svg.marks').length == {len(CHARTS)}"
    )

    drawn = page.evaluate(DRAWN)
    assert sorted(drawn) == CHARTS
    assert all(drawn.values()), drawn
    assert page.evaluate(UNSEEN) == 0
    page.wait_for_function("[...document.images].every(image => image.complete)")
    sizes = page.evaluate(SIZES)
    assert len(sizes) == len(revisions) * len(IMAGES)
    for revision in revisions:
        for name in IMAGES:
            file = f"{revision}_plots_{name}.png"
            with Image.open(tmp_path / "static" / file) as image:
                assert sizes[file] == [*image.size]
    # Of the predictions that the page was made of.
    metrics = json.loads((project.folder / "metrics/evaluate.json").read_text())
    accuracy, *interval = (
        f"{100 * metrics[name]:.2f} %" for name in ("accuracy", "accuracy_low", "accuracy_high")
    )
    assert page.locator("header p").all_inner_texts()[0] == (
        f"workspace, airbench_small: accuracy {accuracy}, 95 % interval {' to '.join(interval)}, "
        "200 test images"
    )
    assert page.locator("header p").count() == len(revisions)
    # A chart names revisions only where there are several; what a chart shows is there once.
    text = page.inner_text("body")
    assert text.count("workspace") > 1 if len(revisions) > 1 else text.count("workspace") == 1
    assert "rev" not in text.split()
    for name in ("confusion", "history", "reliability"):
        assert page.locator(f"#plots_{name}_png").is_hidden()
    for width in (400, 800, 1400):
        page.set_viewport_size({"width": width, "height": 1000})
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert page.evaluate(CUT) == []
    page.screenshot(path=tmp_path / "page.png", full_page=True)
    assert wrong == []
