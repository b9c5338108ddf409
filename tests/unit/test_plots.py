"""The stage plots: which rows and images come into which figure, and the files."""

import importlib
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

import stages.plots.style
from stages import arrays
from stages.plots.__main__ import first_of_both, main, show_predictions
from stages.plots.style import save
from tests.project import default_params, write_params

VERMILLION = "#D55E00"
COLUMNS = ["index", "actual", "predicted", "confidence"]
# Of 1,203 predictions, in an order of their own, 1,005 are mistakes.
ROWS = [
    (29, "cat", "cat", 0.5),
    (0, "ship", "frog", 0.25),
    (7, "dog", "cat", 0.875),
    (3, "cat", "dog", 0.625),
    (4, "truck", "bird", 0.875),
    (5, "bird", "bird", 0.999),
    *[(1, "deer", "horse", 0.125)] * 1001,
    *[(2, "frog", "frog", 0.75)] * 196,
]
RIGHT = [(0, "cat", "cat", 1)]
METRICS = """{"expected_calibration_error": 0.1234, "corruptions": [
    {"corruption": "none", "accuracy": 0.75},
    {"corruption": "brightness_40", "accuracy": 0.5},
    {"corruption": "noise_8", "accuracy": 0.125}
]}"""
HISTORY = "epoch,loss,accuracy,val_loss,val_accuracy,learning_rate\n1,2,0.25,1.5,0.5,0.1\n"


class Made(NamedTuple):
    """What one run of the stage has made: its folder, its figures and what it has printed."""

    folder: Path
    figures: list[Figure]
    printed: str


def run(
    folder: Path, predictions: list[tuple], train: int, is_drawn: bool = False, **settings: int
) -> Made:
    """Run the stage in a folder, on these predictions and so many training images.

    Its figures are drawn into the files only where `is_drawn`, which takes most of the time.
    """
    figures: list[Figure] = []
    savefig = Figure.savefig

    def noted(figure: Figure, *arguments: Any, **settings: Any) -> None:
        figures.append(figure)
        if is_drawn:
            savefig(figure, *arguments, **settings)

    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as monkeypatch, redirect_stdout(StringIO()) as printed:
        monkeypatch.chdir(folder)
        monkeypatch.setattr(Figure, "savefig", noted)
        write_params(folder, default_params() | {"plots": settings})
        generator = np.random.default_rng(0)
        for split, count in (("train", train), ("test", 30)):
            images = generator.integers(0, 256, (count, 32, 32, 3), np.uint8)
            # Classes by the alphabet, backwards.
            arrays.save(split, images, (9 - np.arange(count) % 10).astype(np.uint8))
        Path("plots").mkdir()
        pd.DataFrame(predictions, columns=COLUMNS).to_csv("plots/predictions.csv", index=False)
        Path("plots/history.csv").write_text(HISTORY)
        Path("plots/calibration.csv").write_text("confidence,accuracy,count\n0.5,0.4,7\n")
        Path("metrics").mkdir()
        Path("metrics/evaluate.json").write_text(METRICS)
        main()
    return Made(folder, figures, printed.getvalue())


@pytest.fixture
def many(tmp_path: Path) -> Made:
    """Return a run on more images and predictions than fit into the figures."""
    return run(tmp_path, ROWS, 1001, columns=3, rows=1, dpi=60)


def with_heading(made: Made, heading: str) -> Figure:
    """Return the figure of images with this heading."""
    (found,) = [f for f in made.figures if [text.get_text() for text in f.texts] == [heading]]
    return found


def shown(figure: Figure) -> list[tuple[str, object, bytes]]:
    """Return of each image its title, the title's colour and the pixels."""
    return [
        (
            axes.get_title(),
            axes.title.get_color(),
            np.rint(np.asarray(axes.images[0].get_array()) * 255).astype(np.uint8).tobytes(),
        )
        for axes in figure.axes
    ]


def pixels(made: Made, split: str, index: int) -> bytes:
    """Return an image of a split as bytes."""
    path = made.folder / f"data/processed/{split}/images.npy"
    image = np.load(path, mmap_mode="r", allow_pickle=False)[index]
    return np.rint(image * 255).astype(np.uint8).tobytes()


def test_samples_are_the_first_training_images(many: Made) -> None:
    assert shown(with_heading(many, "First 3 of 1,001 training images")) == [
        ("truck", "black", pixels(many, "train", 0)),
        ("ship", "black", pixels(many, "train", 1)),
        ("horse", "black", pixels(many, "train", 2)),
    ]


def test_predictions_are_the_first_right_and_the_first_wrong_ones(tmp_path: Path) -> None:
    """In the order of the table; a quarter is wrong."""
    made = run(tmp_path, ROWS, 5, columns=4, rows=2, dpi=60)
    heading = "First 6 right and first 2 wrong (red) predictions; R: real class, P: predicted"
    assert shown(with_heading(made, heading)) == [
        ("R: cat\nP: cat 50.0%", "black", pixels(made, "test", 29)),
        ("R: ship\nP: frog 25.0%", VERMILLION, pixels(made, "test", 0)),
        ("R: dog\nP: cat 87.5%", VERMILLION, pixels(made, "test", 7)),
        ("R: bird\nP: bird 99.9%", "black", pixels(made, "test", 5)),
        *[("R: frog\nP: frog 75.0%", "black", pixels(made, "test", 2))] * 4,
    ]


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ("rrrrrrrrr", [0, 1, 2, 3, 4, 5, 6, 7]),
        ("wwwwwwwww", [0, 1, 2, 3, 4, 5, 6, 7]),
        ("rwwwwwwwww", [0, 1, 2, 3, 4, 5, 6, 7]),
        ("rrrrrrrrrw", [0, 1, 2, 3, 4, 5, 6, 9]),
        ("wwwrrrrrrrr", [0, 1, 3, 4, 5, 6, 7, 8]),
        ("rwr", [0, 1, 2]),
    ],
)
def test_what_there_is_of_right_and_wrong_is_shown(answers: str, expected: list[int]) -> None:
    table = pd.DataFrame({"actual": "r", "predicted": [*answers]})
    assert first_of_both(table, 8).index.to_list() == expected


def test_mistakes_are_the_most_confident_ones(many: Made) -> None:
    """Of equally confident ones in the order of the table; the right one of 99.9 % is none."""
    heading = "Most confident of 1,005 mistakes on 1,203 test images"
    assert shown(with_heading(many, heading)) == [
        ("R: dog\nP: cat 87.5%", VERMILLION, pixels(many, "test", 7)),
        ("R: truck\nP: bird 87.5%", VERMILLION, pixels(many, "test", 4)),
        ("R: cat\nP: dog 62.5%", VERMILLION, pixels(many, "test", 3)),
    ]


def test_corruptions_are_shown_on_the_first_test_images(tmp_path: Path) -> None:
    made = run(tmp_path, RIGHT, 5, columns=12, rows=2, dpi=60)
    heading = "Accuracy under corruptions, and the first 2 test images"
    found = shown(with_heading(made, heading))
    titles = ["none\n75.0%", "brightness_40\n50.0%", "noise_8\n12.5%"]
    assert [(title, colour) for title, colour, _ in found] == [
        (title, "black") for title in titles * 2
    ]
    for row in range(2):
        plain = np.frombuffer(pixels(made, "test", row), np.uint8)
        of_row = [np.frombuffer(bytes_, np.uint8) for *_, bytes_ in found[3 * row : 3 * row + 3]]
        np.testing.assert_array_equal(of_row[0], plain)
        np.testing.assert_array_equal(of_row[1], np.minimum(plain.astype(int) + 40, 255))
        inside = (plain > 40) & (plain < 215)
        assert (of_row[2].astype(int) - plain)[inside].std() == pytest.approx(8, rel=0.1)


def test_charts_show_the_tables(many: Made) -> None:
    charts = {figure.axes[0].get_title(): figure.axes for figure in many.figures}
    loss, accuracy = charts["Loss"]
    assert [line.get_ydata() for line in loss.lines] == [[2], [1.5]]
    assert [line.get_ydata() for line in accuracy.lines] == [[0.25], [0.5]]
    counts = [int(text.get_text()) for text in charts["Confusion, test images"][0].texts]
    # Class after class: cats taken for dogs, deer for horses.
    assert (counts[10 * 3 + 5], counts[10 * 4 + 7], sum(counts)) == (1, 1001, len(ROWS))
    upper, _ = charts["Reliability, expected calibration error 12.3%"]
    assert np.asarray(upper.lines[1].get_xydata()).tolist() == [[0.5, 0.4]]


def test_files(tmp_path: Path) -> None:
    """At 60 dpi, an image of 64 pixels has 14.4 beside it; at 80 dpi, one of 96 has 19.2.

    Above and below it are 7.2 or 9.6, and 9 or 12 for each line of its title; the heading takes
    25.2 or 33.6.
    """
    sizes = {
        60: {
            "confusion": (480, 420),
            "history": (600, 240),
            "reliability": (360, 390),
            "corruptions": (235, 114),
            "samples": (235, 105),
            "predictions": (235, 114),
            "mistakes": (235, 114),
        },
        80: {
            "confusion": (640, 560),
            "history": (800, 320),
            "reliability": (480, 520),
            "corruptions": (346, 293),
            "samples": (461, 269),
            "predictions": (461, 163),
            "mistakes": (461, 151),
        },
    }
    many = run(tmp_path / "many", ROWS, 40, is_drawn=True, columns=3, rows=1, dpi=60)
    few = run(tmp_path / "few", RIGHT, 5, is_drawn=True, columns=4, rows=2, dpi=80)
    for made, dpi in ((many, 60), (few, 80)):
        assert made.printed == "7 figures in plots\n"
        found = {}
        for path in made.folder.glob("plots/*.png"):
            with Image.open(path) as image:
                found[path.stem] = image.size
                # Neither a version nor a date.
                assert set(image.info) == {"dpi"}
                assert image.info["dpi"] == pytest.approx((dpi, dpi), abs=0.02)
        assert found == sizes[dpi]
    # Each file holds its figure. At 60 dpi, the first image is 7 pixels from the left, and each of
    # its pixels is 2 wide.
    for name, first in (
        ("samples", pixels(many, "train", 0)),
        ("predictions", pixels(many, "test", 29)),
        ("mistakes", pixels(many, "test", 7)),
    ):
        figure = np.asarray(Image.open(many.folder / f"plots/{name}.png").convert("RGB"))
        block = np.frombuffer(first, np.uint8).reshape(32, 32, 3).repeat(2, 0).repeat(2, 1)
        strip = figure[:, 7 : 7 + 64]
        assert any(np.array_equal(strip[row : row + 64], block) for row in range(len(strip) - 64))


def test_fewer_images_than_room(tmp_path: Path) -> None:
    few = run(tmp_path, RIGHT, 5, columns=4, rows=2, dpi=80)
    samples = with_heading(few, "First 5 of 5 training images")
    names = [title for title, *_ in shown(samples)]
    assert names == ["truck", "ship", "horse", "frog", "dog"]
    assert shown(with_heading(few, "Most confident of 0 mistakes on 1 test images")) == []


def test_confidence_is_rounded_to_a_tenth_of_a_percent(folder: Path) -> None:
    rows = pd.DataFrame(
        {
            "index": [1, 0],
            "actual": ["cat", "dog"],
            "predicted": ["dog", "dog"],
            "confidence": [0.98765, 1],
        }
    )
    figure = show_predictions(rows, np.zeros((2, 32, 32, 3)), "Two", 4, 75)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["R: cat\nP: dog 98.8%", "R: dog\nP: dog 100.0%"]
    # Four columns of 96 and 18 pixels.
    assert round(figure.get_size_inches()[0] * 75) == 4 * (96 + 18)


def test_same_figure_is_written_as_the_same_bytes(folder: Path) -> None:
    contents = []
    for name in ("a.png", "b.png"):
        figure = Figure(figsize=(2, 1))
        figure.text(0.5, 0.5, "x")
        save(figure, Path("figures") / name, 100)
        contents.append((Path("figures") / name).read_bytes())
    assert contents[0] == contents[1]
    assert contents[0].startswith(b"\x89PNG")
    with Image.open("figures/a.png") as image:
        assert image.size == (200, 100)


def test_user_s_style_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(mpl.rcParams, "font.size", 30.0)
    importlib.reload(stages.plots.style)
    assert mpl.rcParams["font.size"] == 10
