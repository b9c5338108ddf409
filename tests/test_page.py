"""DVC's pages of plots: what each chart draws, and the page in a browser without a network."""

import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import vl_convert
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Page
from sklearn.metrics import precision_recall_fscore_support

from pipeline.evaluation.metrics import accuracy_with_interval
from tests.project import ROOT, Project, assert_refused, default_params, run

PREDICTIONS = "plots/predictions.csv"
TABLES = ("calibration", "corruptions", "history", "predictions")
FILES = [f"plots_{table}_csv" for table in TABLES]
# These are drawn for each revision.
SPLIT = ("confusion", "plots_predictions_csv")
CHARTS = ["accuracy", "confusion", "f1", "loss", *FILES]
IMAGES = [
    *("confusion", "corruptions", "history", "mistakes", "predictions", "reliability", "samples"),
]
# Of a chart, the shapes that it draws of data, not axes, legends and background.
MARKS = "g.mark-line path, g.mark-rect path, g.mark-symbol.role-mark path"
DRAWN = f"""() => Object.fromEntries([...document.querySelectorAll('.vega-embed')].map(
    chart => [chart.closest('body > div').id, [...chart.querySelectorAll('{MARKS}')].filter(
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
# Charts that are not one under the other, or smaller than they were drawn.
SQUEEZED = """() => [...document.querySelectorAll('.vega-embed')].filter((chart, _, [first]) =>
    chart.offsetLeft != first.offsetLeft || chart.querySelector('svg.marks').clientWidth <
    chart.querySelector('svg.marks').width.baseVal.value - 1).length"""
# The colours of the page's writing, and of the lines that a chart draws of data.
INKS = """() => [...new Set([
    ...[...document.querySelectorAll('h1, p, td, caption')].map(e => getComputedStyle(e).color),
    ...[...document.querySelectorAll('.marks g:not(.role-mark) > text, #f1 .role-mark text')].map(
        e => getComputedStyle(e).fill),
    ...[...document.querySelectorAll('.mark-line path, .role-legend-symbol path')].map(
        e => getComputedStyle(e).stroke).filter(stroke => stroke != 'none')])]"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return the project with its own results, the page's template, and other predictions."""
    project = Project(tmp_path_factory.mktemp("project"))
    for name in (".dvc/plots", "plots", "metrics"):
        shutil.copytree(ROOT / name, project.folder / name)
    for name in (".dvc/config", "dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, project.folder / name)
    project.git("init", "--quiet", "--initial-branch=main")
    project.git("config", "user.name", "Test")
    project.git("config", "user.email", "test@example.com")
    project.commit("Start")
    table = project.folder / PREDICTIONS
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:201]))
    # In a folder of the project it is the project's; in another there is none to be made.
    project.folder.joinpath("stages").mkdir()
    result = run(["python", "-m", "tools.page"], project.folder / "stages")
    assert result.returncode == 0, result.stderr
    return project


def drawn(chart: list[dict[str, Any]], *titles: str) -> set[tuple[float | str, ...]]:
    """Return what the marks of a chart stand for, under these titles of its axes and legend."""
    found = set()
    picture = vl_convert.vegalite_to_svg(chart[0]["content"])
    for label in re.findall('<path aria-label="([^"]*)"', picture):
        values = dict(part.split(": ", 1) for part in label.split("; ") if ": " in part)
        if values.keys() >= {*titles}:
            found.add(tuple(rounded(values[title]) for title in titles))
    return found


def rounded(value: str | float) -> float | str:
    """Return a number to three digits, a percentage as its share, and any other text as it is."""
    if isinstance(value, str) and not re.fullmatch(r"[\d.]+%?", value):
        return value
    share = isinstance(value, str) and value.endswith("%")
    return round(float(str(value).rstrip("%")) / (100 if share else 1), 3)


def rows_of(table: pd.DataFrame, *columns: str) -> set[tuple[float | str, ...]]:
    return {tuple(map(rounded, row)) for row in table[[*columns]].itertuples(index=False)}


def texts(page: Page, chart: str) -> list[float]:
    """Return the numbers that stand at a chart's bars, or in its cells."""
    found = page.locator(f"#{chart} .role-mark text").all_text_contents()
    return sorted(float(text) for text in found if text)


def contrast(*colours: NDArray[np.integer]) -> float:
    """Return the contrast of two colours, as the Web Content Accessibility Guidelines have it."""
    dark, light = sorted(
        np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722)
        for c in (colour / 255 for colour in colours)
    )
    return float((light + 0.05) / (dark + 0.05))


def test_charts_draw_the_columns_that_their_axes_name(project: Project) -> None:
    charts = json.loads(project.dvc("plots", "show", "--json"))["data"]
    tables = {name: pd.read_csv(project.folder / f"plots/{name}.csv") for name in TABLES}
    history = tables["history"]
    for name, title in (("loss", "Loss (cross-entropy)"), ("accuracy", "Accuracy (top-1)")):
        columns = {"training": name, "validation": f"val_{name}"}
        expected = {
            (*row, images)
            for images, column in columns.items()
            for row in rows_of(history, "epoch", column)
        }
        assert drawn(charts[name], "Epoch", title, "Images") == expected
    # A line without points says its first one.
    rates = drawn(charts["plots/history.csv"], "Epoch", "Learning rate")
    assert rates == rows_of(history[:1], "epoch", "learning_rate")

    predictions = tables["predictions"]
    table = pd.crosstab(predictions["predicted"], predictions["actual"], normalize="columns")
    shares = table.melt(ignore_index=False, value_name="share").reset_index()
    expected = rows_of(shares[shares["share"] > 0], "predicted", "actual", "share")
    titles = ("Predicted class", "Actual class", "percent_of_y")
    found = {row for row in drawn(charts["confusion"], *titles) if row[2]}
    # What the mouse points at is drawn once more, with two digits.
    assert found >= expected
    assert {row[:2] for row in found} == {row[:2] for row in expected}
    metrics = json.loads((project.folder / "metrics/evaluate.json").read_text())
    scores = pd.DataFrame(metrics["per_class"])
    assert drawn(charts["f1"], "Class", "F1") == rows_of(scores, "class", "f1")

    surest = predictions[predictions["confidence"] > 0.95]
    right = (surest["actual"] == surest["predicted"]).sum() / len(predictions)
    bars = drawn(charts["plots/predictions.csv"], "Share of the test images", "Prediction")
    assert (rounded(right), "right") in bars
    titles = ("Confidence in the predicted class", "Accuracy", "rev")
    calibration = tables["calibration"].assign(rev="workspace")
    expected = rows_of(calibration, "confidence", "accuracy", "rev")
    assert drawn(charts["plots/calibration.csv"], *titles) == expected
    title = "Accuracy (top-1), one view of each image"
    corruptions = drawn(charts["plots/corruptions.csv"], "Corruption", title)
    assert corruptions == rows_of(tables["corruptions"], "corruption", "accuracy")


def test_page_made_elsewhere(tmp_path: Path) -> None:
    assert_refused(run(["python", "-m", "tools.page"], tmp_path), "dvc.yaml: missing; ")
    assert not [*tmp_path.iterdir()]


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
    charts = len(CHARTS) + len(SPLIT) * (len(revisions) - 1)
    page.wait_for_function(f"document.querySelectorAll('.vega-embed svg.marks').length == {charts}")

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
    rows = pd.read_csv(project.folder / PREDICTIONS)
    metrics = accuracy_with_interval((rows["actual"] == rows["predicted"]).to_numpy())
    accuracy, low, high = (f"{100 * share:.2f} %" for share in metrics.values())
    assert page.locator("header p").all_inner_texts()[0] == (
        f"workspace, {default_params()['recipe']}: accuracy {accuracy}, "
        f"95 % interval {low} to {high}, 200 test images"
    )
    assert page.locator("header p").count() == len(revisions)
    assert page.locator("table").count() == len(revisions)
    lines = page.locator("table").first.locator("tr").all_inner_texts()[1:]
    found = pd.DataFrame([line.split() for line in lines]).set_index(0).astype(float)
    classes = sorted({*rows["actual"], *rows["predicted"]})
    scores = precision_recall_fscore_support(
        rows["actual"], rows["predicted"], labels=classes, zero_division=0
    )
    assert [*found.index] == classes
    assert np.allclose(found, np.transpose(scores), rtol=0, atol=0.0005001)
    if len(revisions) == 1:
        per_class = json.loads((project.folder / "metrics/evaluate.json").read_text())["per_class"]
        assert np.allclose(texts(page, "f1"), sorted(c["f1"] for c in per_class), atol=0.0005001)
        assert len(texts(page, "plots_corruptions_csv")) == 5
        shares = pd.crosstab(rows["actual"], rows["predicted"], normalize="index").to_numpy()
        percent = np.floor(100 * shares + 0.5)
        assert texts(page, "confusion") == sorted(percent[percent > 0])
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
        if width == 400:
            page.wait_for_function(f"({SQUEEZED})() == 0")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        with Image.open(io.BytesIO(page.locator("#f1 svg.marks").screenshot())) as image:
            paper = np.array(image)[2, 2]
        inks = [np.array(re.findall(r"\d+", ink)[:3], int) for ink in page.evaluate(INKS)]
        # DVC's second colour has 2.7 on white.
        assert min(contrast(ink, paper[:3]) for ink in inks) > 2.6
        assert (paper[0] < 100) == (scheme == "dark")
    page.screenshot(path=tmp_path / "page.png", full_page=True)
    assert wrong == []
