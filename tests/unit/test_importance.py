"""What the parameters of experiments did to a metric: the table, the chart and the refusals."""

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import dvc.api
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from stages.errors import InputError
from tools.importance import chart, experiments, importance, main

Row = dict[str, Any]
RATE, BINS, TTA = (
    "recipes.mine.optimizer.learning_rate",
    "evaluate.calibration_bins",
    "evaluate.tta",
)


def row(name: str | None, accuracy: object, rate: float, bins: float, tta: str, **more: Any) -> Row:
    """Return an experiment as DVC returns it, in which every number is a float."""
    return {
        "Experiment": name,
        "rev": "4b1c391",
        "typ": "branch_commit",
        "Created": "01:02 PM",
        "State": None,
        "Executor": None,
        "loss": 0.5,
        "accuracy": accuracy,
        "seed": 0.0,
        RATE: rate,
        BINS: bins,
        TTA: tta,
        "data/raw": name,
    } | more


ROWS = [
    row(None, 0.99, 7.0, 7.0, "flip_translate", typ="baseline", rev="workspace"),
    row("a", 0.5, 0.1, 30.0, "none"),
    row("b", 0.75, 0.2, 10.0, "flip", State="Success", typ="branch_base"),
    row("c", 0.625, 0.4, 20.0, "none"),
    row("d", 0.875, 0.8, 5.0, "none"),
    row("e", 0.9, 9.0, 9.0, "flip_translate", State="Failed"),
    row("f", None, 9.0, 9.0, "flip_translate", State="Queued"),
    row("g", "None", 9.0, 9.0, "flip_translate"),
]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Row]:
    """Return the experiments that DVC shows, a copy of ROWS."""
    rows = [dict(row) for row in ROWS]

    def exp_show(revs: str | None = None) -> list[Row]:
        if revs not in (None, "v1"):
            raise ValueError(f"unknown Git revision\n '{revs}'")
        return rows if revs is None else rows[:3]

    monkeypatch.setattr(dvc.api, "exp_show", exp_show)
    return rows


def test_finished_experiments_and_what_differs_among_them(shown: list[Row]) -> None:
    """No baseline, none that failed, is queued or lacks the metric; whole numbers are whole."""
    table = experiments(None, "accuracy")
    assert table.index.tolist() == [0, 1, 2, 3]
    assert str(table.to_dict("list")) == str(
        {
            "Experiment": ["a", "b", "c", "d"],
            "accuracy": [0.5, 0.75, 0.625, 0.875],
            RATE: [0.1, 0.2, 0.4, 0.8],
            BINS: [30, 10, 20, 5],
            TTA: ["none", "flip", "none", "none"],
        }
    )


def test_two_experiments_are_enough(shown: list[Row]) -> None:
    del shown[3:]
    assert experiments(None, "accuracy")["Experiment"].tolist() == ["a", "b"]
    del shown[2:]
    with pytest.raises(InputError) as caught:
        experiments(None, "accuracy")
    assert str(caught.value) == (
        "1 finished experiments with accuracy; allowed are 2 or more: "
        "`dvc exp run --queue -S KEY=choice(...)` and `dvc queue start` make them"
    )


@pytest.mark.parametrize("metric", ["speed", "seed", "Experiment", TTA])
def test_what_is_no_metric(shown: list[Row], metric: str) -> None:
    with pytest.raises(InputError) as caught:
        experiments(None, metric)
    assert str(caught.value) == f"--metric {metric}: no metric; allowed are loss, accuracy"


def test_no_metric_at_all(shown: list[Row]) -> None:
    shown.clear()
    with pytest.raises(InputError) as caught:
        experiments(None, "accuracy")
    assert str(caught.value) == "--metric accuracy: no metric; allowed are none yet"


def test_commit(shown: list[Row], monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(experiments("v1", "accuracy")) == 2
    with pytest.raises(InputError) as caught:
        experiments("nowhere", "accuracy")
    assert str(caught.value) == "nowhere: unknown Git revision 'nowhere'"
    # Of the last commit, where none is named.
    monkeypatch.setattr(dvc.api, "exp_show", Mock(side_effect=ValueError("no commits")))
    with pytest.raises(InputError) as caught:
        experiments(None, "accuracy")
    assert str(caught.value) == "HEAD: no commits"


def test_table_of_parameters(shown: list[Row]) -> None:
    """Accuracy has ranks 1, 3, 2, 4: against 1, 2, 3, 4 and 4, 2, 3, 1, by Spearman's formula.

    1 - 6 * (0 + 1 + 1 + 0) / (4 * 15) = 0.8, and 1 - 6 * (9 + 1 + 1 + 9) / (4 * 15) = -1. Of the
    views, flip has 0.75, and none 2/3 on average.
    """
    table = importance(experiments(None, "accuracy"), "accuracy")
    assert [*table.columns] == [
        "parameter",
        "values",
        "highest mean accuracy at",
        "rank correlation",
    ]
    # The most important first, whichever way it works; what has no order last.
    rows = [*table.itertuples(index=False, name=None)]
    assert rows[:2] == [(BINS, 4, "5", pytest.approx(-1)), (RATE, 4, "0.8", pytest.approx(0.8))]
    assert rows[2][:3] == (TTA, 2, "flip")
    assert np.isnan(rows[2][3])


def test_equal_values_share_their_rank() -> None:
    table = pd.DataFrame({"Experiment": [*"abcd"], "loss": [4, 1, 3, 2], "seed": [1, 1, 2, 1]})
    found = importance(table, "loss")
    # Ranks of the seeds: 2, 2, 4, 2. The mean loss at 1 is 7/3.
    expected = np.corrcoef([4, 1, 3, 2], [2, 2, 4, 2])[0, 1]
    assert found.to_dict("records") == [
        {
            "parameter": "seed",
            "values": 2,
            "highest mean loss at": "2",
            "rank correlation": pytest.approx(expected),
        }
    ]


@pytest.mark.filterwarnings("error")
def test_with_a_metric_that_is_the_same_for_all_nothing_grows() -> None:
    table = pd.DataFrame({"Experiment": [*"abc"], "loss": [0.5] * 3, "seed": [1, 2, 3]})
    (found,) = importance(table, "loss").to_dict("records")
    assert found["parameter"] == "seed"
    assert pd.isna(found["rank correlation"])


WHOLE = {"tickMinStep": 1}


def test_chart_has_a_panel_for_each_parameter(shown: list[Row]) -> None:
    found = chart(experiments(None, "accuracy"), "accuracy", [TTA, BINS, RATE])
    assert found["title"] == "accuracy of 4 experiments"
    assert found["columns"] == 3
    assert found["$schema"] == "https://vega.github.io/schema/vega-lite/v6.json"
    # A dot in a name would lead into a nested object.
    fields = [name.replace(".", " ") for name in ("Experiment", "accuracy", RATE, BINS, TTA)]
    first = dict(zip(fields, ("a", 0.5, 0.1, 30, "none"), strict=True))
    assert len(found["data"]["values"]) == 4
    assert found["data"]["values"][0] == first
    scale = {"zero": False, "padding": 10}
    # In the given order; a whole number has no fractions between it and the next.
    kinds = {TTA: ("nominal", {}), BINS: ("quantitative", WHOLE), RATE: ("quantitative", {})}
    panels = zip(found["concat"], kinds.items(), reversed(fields[2:]), strict=True)
    for panel, (name, (kind, axis)), field in panels:
        assert (panel["width"], panel["height"]) == (280, 220)
        assert panel["mark"] == {"type": "point", "filled": True, "size": 70}
        x, y = panel["encoding"]["x"], panel["encoding"]["y"]
        assert x == {"field": field, "type": kind, "title": name, "scale": scale, "axis": axis}
        assert y == {
            "field": "accuracy",
            "type": "quantitative",
            "title": "accuracy",
            "scale": scale,
        }
        assert panel["encoding"]["tooltip"] == [{"field": f, "type": "nominal"} for f in fields]


def test_printed_table_and_drawn_page(
    folder: Path, shown: list[Row], call: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    call(main, "--out", "picture.svg")
    assert capsys.readouterr().out.splitlines() == [
        "                           parameter  values highest mean accuracy at  rank correlation",
        "           evaluate.calibration_bins       4                        5             -1.00",
        "recipes.mine.optimizer.learning_rate       4                      0.8              0.80",
        "                        evaluate.tta       2                     flip                 -",
        "4 experiments drawn in picture.svg",
    ]
    svg = Path("picture.svg").read_text()
    assert len(re.findall(r'aria-roledescription="point"', svg)) == 3 * 4
    texts = set(re.findall(r"<text[^>]*>([^<]*)<", svg))
    assert texts >= {"accuracy of 4 experiments", "accuracy", RATE, BINS, TTA, "none", "flip"}


def test_page_wants_no_network(
    folder: Path, shown: list[Row], call: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    call(main)
    assert capsys.readouterr().out.endswith("\n4 experiments drawn in dvc_plots/importance.html\n")
    page = Path("dvc_plots/importance.html").read_text()
    assert "recipes.mine.optimizer.learning_rate" in page
    assert not re.findall(r"<script[^>]+src=|<link[^>]+href=|import .*from ['\"]https?:", page)


def test_picture_has_twice_the_size(
    folder: Path, shown: list[Row], call: Callable[..., None]
) -> None:
    """Than its vector graphic, to be sharp."""
    call(main, "--out", "a.svg")
    call(main, "--out", "a.png")
    width, height = re.findall(r'(?:width|height)="(\d+)"', Path("a.svg").read_text())[:2]
    with Image.open(io.BytesIO(Path("a.png").read_bytes())) as image:
        assert image.format == "PNG"
        assert image.size == (2 * int(width), 2 * int(height))


def test_other_metric_of_a_commit(
    folder: Path, shown: list[Row], call: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    for number, experiment in enumerate(shown):
        experiment["loss"] = float(number)
    call(main, "v1", "--metric", "loss", "--out", "a.svg")
    lines = capsys.readouterr().out.splitlines()
    assert "highest mean loss at" in lines[0]
    assert lines[-1] == "2 experiments drawn in a.svg"


def test_name_without_a_known_ending(
    folder: Path, shown: list[Row], call: Callable[..., None]
) -> None:
    with pytest.raises(InputError) as caught:
        call(main, "--out", "a.pdf")
    assert str(caught.value) == "--out a.pdf: the name must end in .html, .png, .svg"
    assert not [*folder.iterdir()]


def test_nothing_differs(folder: Path, shown: list[Row], call: Callable[..., None]) -> None:
    shown[:] = [row(name, 0.5, 0.1, 5.0, "none") for name in "abc"]
    with pytest.raises(InputError) as caught:
        call(main)
    assert str(caught.value) == "3 experiments, and no parameter differs among them"
    assert not [*folder.iterdir()]


def test_help(help_of: Callable[[Callable[[], None]], str]) -> None:
    text = help_of(main)
    assert text.startswith(
        "usage: python -m tools importance [-h] [--metric METRIC] [--out OUT] [REV] "
        "Show how the parameters of experiments affect a metric. "
    )
    assert "REV the experiments' commit; HEAD " in text
    assert "--metric METRIC accuracy by default " in text
    assert text.endswith("--out OUT HTML, PNG or SVG; dvc_plots/importance.html")
