"""The stage plots: which rows and images come into which figure, and what it refuses."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline import figures
from pipeline.data.arrays import load
from pipeline.data.corruptions import corrupted
from stages.plots import first_of_both
from tests.project import Stage, assert_refused, printed
from tests.small import CLASSES, small_project

from matplotlib.figure import Figure

# In an order of their own; below them, the same right one nine times.
ROWS = """\
index,actual,predicted,confidence
29,$z^$ebra,$z^$ebra,0.5
0,emu,gnu,0.25
7,gnu,$z^$ebra,0.875
3,$z^$ebra,gnu,0.625
4,emu,gnu,0.875
5,emu,emu,1.0
"""
TABLES = {
    "predictions.csv": ROWS + "2,gnu,gnu,0.75\n" * 9,
    "history.csv": "epoch,loss,accuracy,val_loss,val_accuracy\n1,2,0.25,1.5,0.5\n",
    # Half of the images 0.1 too sure, half of them 0.15 too unsure.
    "calibration.csv": "confidence,accuracy,count\n0.5,0.4,7\n0.75,0.9,7\n",
    "corruptions.csv": "corruption,accuracy\nnone,0.75\nnoise_8,0.125\n",
}


@pytest.fixture
def folder(here: Path) -> Path:
    """Return the current folder, with the tables that the stage reads."""
    Path("plots").mkdir()
    for name, text in TABLES.items():
        Path("plots", name).write_text(text)
    return here


@pytest.fixture
def made(folder: Path, call_stage: Stage, monkeypatch: pytest.MonkeyPatch) -> dict[str, Figure]:
    """Run the stage and return its figures, none of which is drawn."""
    made: dict[str, Figure] = {}
    monkeypatch.setattr(figures, "save", lambda figure, path, dpi: made.update({path.stem: figure}))
    small_project()
    printed(call_stage("plots", folder))
    return made


def test_images_are_those_that_the_headings_name(made: dict[str, Figure]) -> None:
    train, labels = load("train")
    test, _ = load("test")
    noisy = corrupted(test[:2], "noise_8")
    expected = {
        "samples": train[:8],
        # A quarter is wrong.
        "predictions": test[[29, 0, 7, 5, 2, 2, 2, 2]],
        # Of equally confident ones in the order of the table.
        "mistakes": test[[7, 4, 3, 0]],
        "corruptions": np.stack([test[0], noisy[0], test[1], noisy[1]]),
    }
    for name, images in expected.items():
        for axes, image in zip(made[name].axes, images, strict=True):
            np.testing.assert_array_equal(axes.images[0].get_array(), image)
            assert axes.images[0].get_interpolation() == "nearest"
    titles = {name: [axes.get_title() for axes in made[name].axes] for name in expected}
    headings = {name: figure.texts[0].get_text() for name, figure in made.items() if figure.texts}
    assert titles["samples"] == [CLASSES[label] for label in labels[:8]]
    assert titles["corruptions"] == ["none\n75.0%", "noise_8\n12.5%"] * 2
    assert titles["mistakes"][:2] == ["R: gnu\nP: $z^$ebra 87.5%", "R: emu\nP: gnu 87.5%"]
    is_orange = [axes.title.get_color() == figures.VERMILLION for axes in made["predictions"].axes]
    assert is_orange == [False, True, True, *[False] * 5]
    assert headings["samples"] == "First 8 of 1,001 training images"
    assert headings["predictions"].startswith("First 6 right and first 2 wrong (orange)")
    assert headings["mistakes"] == "Most confident of 4 mistakes on 15 test images"


def test_charts_show_the_tables(made: dict[str, Figure]) -> None:
    loss, accuracy = made["history"].axes
    assert [line.get_ydata() for line in (*loss.lines, *accuracy.lines)] == [2, 1.5, 0.25, 0.5]
    counts = [int(text.get_text()) for text in made["confusion"].axes[0].texts]
    assert counts == [1, 1, 0, 1, 9, 0, 0, 2, 1]
    upper, lower = made["reliability"].axes
    assert upper.get_title() == "Reliability, expected calibration error 12.5%"
    points = [np.asarray(line.get_xydata()).tolist() for line in upper.lines]
    assert points == [[[0, 0], [1, 1]], [[0.5, 0.4], [0.75, 0.9]]]
    # Of twenty bins, the last holds 1.
    right, wrong = (histogram.datavalues for histogram in lower.containers)  # type: ignore
    np.testing.assert_array_equal(right, [0] * 10 + [1, 0, 0, 0, 0, 9, 0, 0, 0, 1])
    np.testing.assert_array_equal(wrong, [0] * 5 + [1] + [0] * 6 + [1, 0, 0, 0, 0, 2, 0, 0])
    assert lower.get_xlim() == upper.get_xlim() == upper.get_ylim() == (0, 1)


def test_no_mistakes_no_validation_and_no_corruptions(folder: Path, call_stage: Stage) -> None:
    """All figures are there all the same."""
    small_project(dpi=50)
    Path("plots/predictions.csv").write_text(ROWS.splitlines()[0] + "\n0,emu,emu,1\n")
    Path("plots/history.csv").write_text("epoch,loss,accuracy\n1,2,0.25\n")
    Path("plots/corruptions.csv").write_text("corruption,accuracy\nnone,1\n")
    assert printed(call_stage("plots", folder)) == "7 figures in plots\n"
    paths = [*Path("plots").glob("*.png")]
    assert len(paths) == 7
    for path in paths:
        with Image.open(path) as image:
            assert image.info["dpi"] == pytest.approx((50, 50), abs=0.02)


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ("r" * 13, [*range(12)]),
        ("r" + "w" * 13, [*range(12)]),
        ("wwwwrrrrrrrrrrw", [0, 1, 2, *range(4, 13)]),
        ("rwr", [0, 1, 2]),
    ],
)
def test_what_there_is_of_right_and_wrong_is_shown(answers: str, expected: list[int]) -> None:
    table = pd.DataFrame({"actual": "r", "predicted": [*answers]})
    assert first_of_both(table, 12).index.to_list() == expected


def test_a_damaged_table_is_refused(call_stage: Stage, folder: Path) -> None:
    small_project()
    path = Path("plots/predictions.csv")
    path.write_text(ROWS.replace("29,", "40,"))
    refused = call_stage("plots", folder)
    assert_refused(refused, "plots/predictions.csv: line 2, column index: '40'")
    assert not [*folder.glob("plots/*.png")]
