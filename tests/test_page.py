"""DVC's pages of plots: what each chart draws, and the page in a browser without a network."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import vl_convert
from PIL import Image
from playwright.sync_api import Browser, Page
from sklearn.metrics import precision_recall_fscore_support

from pipeline.evaluation.metrics import accuracy_with_interval
from tests.project import ROOT, Project, assert_refused, default_params, printed, run

PREDICTIONS = "plots/predictions.csv"
TABLES = ("calibration", "corruptions", "history", "predictions")
CHARTS = ["accuracy", "confusion", "f1", "loss", *(f"plots_{table}_csv" for table in TABLES)]
IMAGES = ["confusion", "corruptions", "history", "mistakes", "predictions", "reliability"]
IMAGES += ["samples"]
# Of each chart, how many shapes it draws of data, not of axes, legends and background.
DRAWN = """() => Object.fromEntries([...document.querySelectorAll('.vega-embed')].map(
    chart => [chart.closest('body > div').id, [...chart.querySelectorAll(
        'g.mark-line path, g.mark-rect path, g.mark-symbol.role-mark path'
    )].filter(mark => mark.getTotalLength() > 0).length]))"""
SIZES = """() => Object.fromEntries([...document.images].map(
    image => [image.src.split('/').pop(), [image.naturalWidth, image.naturalHeight]]))"""
# What reaches out of the window, or of the block of its plot.
CUT = """() => [
    ...[document.documentElement].filter(page => page.scrollWidth > window.innerWidth),
    ...[...document.images].filter(image => image.getBoundingClientRect().right >
        image.closest('body > div').getBoundingClientRect().right)].length"""
# Charts write in the colour of the page, which is dark where the user's desktop is.
INKS = """() => [...new Set([
    getComputedStyle(document.body).color,
    ...[...document.querySelectorAll('.marks g:not(.role-mark) > text, #f1 .role-mark text')].map(
        text => getComputedStyle(text).fill)])]"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return the project with its own results, the page's template, and other predictions."""
    project = Project(tmp_path_factory.mktemp("project"))
    for name in (".dvc/plots", "plots", "metrics"):
        shutil.copytree(ROOT / name, project.folder / name)
    for name in (".dvc/config", "dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, project.folder / name)
    project.init()
    project.commit("Start")
    table = project.folder / PREDICTIONS
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:201]))
    # In a folder of the project it is the project's; in another there is none to be made.
    project.folder.joinpath("stages").mkdir()
    printed(run(["python", "-m", "tools.page"], project.folder / "stages"))
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


def test_charts_draw_the_columns_that_their_axes_name(project: Project) -> None:
    charts = json.loads(project.dvc("plots", "show", "--json"))["data"]
    tables = {name: pd.read_csv(project.folder / f"plots/{name}.csv") for name in TABLES}
    history = tables["history"]
    for name, title in (("loss", "Loss (cross-entropy)"), ("accuracy", "Accuracy (top-1)")):
        named = history.rename(columns={name: "training", f"val_{name}": "validation"})
        curves = rows_of(
            named.melt("epoch", ["training", "validation"]), "epoch", "value", "variable"
        )
        assert drawn(charts[name], "Epoch", title, "Images") == curves
    # A line without points says its first one.
    rates = drawn(charts["plots/history.csv"], "Epoch", "Learning rate")
    assert rates == rows_of(history[:1], "epoch", "learning_rate")

    predictions = tables["predictions"]
    shares = predictions.groupby("actual")["predicted"].value_counts(normalize=True)
    expected = rows_of(shares.reset_index(), "predicted", "actual", "proportion")
    titles = ("Predicted class", "Actual class", "percent_of_y")
    found = {row for row in drawn(charts["confusion"], *titles) if row[2]}
    # What the mouse points at is drawn once more, with two digits.
    assert found >= expected
    assert {row[:2] for row in found} == {row[:2] for row in expected}
    scores = pd.DataFrame(project.json("metrics/evaluate.json")["per_class"])
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


@pytest.fixture(scope="module", params=["show", "diff"])
def page(
    project: Project,
    browser: Browser,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Iterator[Page]:
    """Open the page of `dvc plots show` or `dvc plots diff`, which may ask nothing of a network."""
    folder = tmp_path_factory.mktemp("page")
    project.dvc("plots", request.param, "--out", str(folder))
    page = browser.new_context(viewport={"width": 1400, "height": 1000}, offline=True).new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
    page.on(
        "request", lambda r: None if r.url.startswith(("file:", "data:")) else wrong.append(r.url)
    )
    page.goto((folder / "index.html").as_uri())
    # Two of the charts are drawn for each revision.
    charts = len(CHARTS) + (2 if request.param == "diff" else 0)
    page.wait_for_function(f"document.querySelectorAll('.vega-embed svg.marks').length == {charts}")
    page.wait_for_function("[...document.images].every(image => image.complete)")
    yield page
    assert wrong == []


def test_charts_and_images_of_each_revision_are_on_the_page(project: Project, page: Page) -> None:
    drawn = page.evaluate(DRAWN)
    assert sorted(drawn) == CHARTS
    assert all(drawn.values()), drawn
    text = page.inner_text("body")
    revisions = ["workspace", "HEAD"] if "HEAD" in text else ["workspace"]
    assert page.locator("header p").count() == page.locator("table").count() == len(revisions)
    # A chart names revisions only where there are several.
    assert (text.count("workspace") > 1) == (len(revisions) > 1)
    expected: dict[str, list[int]] = {}
    for name in IMAGES:
        with Image.open(project.folder / f"plots/{name}.png") as image:
            expected |= {f"{rev}_plots_{name}.png": [*image.size] for rev in revisions}
    assert page.evaluate(SIZES) == expected
    # What a chart shows is there once.
    for name in ("confusion", "history", "reliability"):
        assert page.locator(f"#plots_{name}_png").is_hidden()


def test_the_page_fits_any_window_and_scheme(page: Page) -> None:
    for width in (400, 800, 1400):
        page.set_viewport_size({"width": width, "height": 1000})
        assert page.evaluate(CUT) == 0
    inks = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        (ink,) = page.evaluate(INKS)
        inks.append(ink)
    assert inks[0] != inks[1]


@pytest.mark.parametrize("page", ["show"], indirect=True)
def test_numbers_of_the_page_are_those_of_its_predictions(project: Project, page: Page) -> None:
    rows = pd.read_csv(project.folder / PREDICTIONS)
    metrics = accuracy_with_interval((rows["actual"] == rows["predicted"]).to_numpy())
    accuracy, low, high = (f"{100 * share:.2f} %" for share in metrics.values())
    assert page.locator("header p").all_inner_texts() == [
        f"workspace, {default_params()['recipe']}: accuracy {accuracy}, "
        f"95 % interval {low} to {high}, 200 test images"
    ]
    lines = page.locator("table").first.locator("tr").all_inner_texts()[1:]
    found = pd.DataFrame([line.split() for line in lines]).set_index(0).astype(float)
    classes = sorted({*rows["actual"], *rows["predicted"]})
    scores = precision_recall_fscore_support(
        rows["actual"], rows["predicted"], labels=classes, zero_division=0
    )
    assert [*found.index] == classes
    assert np.allclose(found, np.transpose(scores), rtol=0, atol=0.0005001)
    f1 = sorted(row["f1"] for row in project.json("metrics/evaluate.json")["per_class"])
    assert np.allclose(texts(page, "f1"), f1, atol=0.0005001)
    shares = pd.crosstab(rows["actual"], rows["predicted"], normalize="index").to_numpy()
    percent = np.floor(100 * shares + 0.5)
    assert texts(page, "confusion") == sorted(percent[percent > 0])
