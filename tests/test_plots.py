"""The stage plots: what its figures show, pixel by pixel where that can be said."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from stages.corruptions import corrupted
from tests.project import Params, Stage, assert_refused, write_params
from tests.project import default_params as params_of_project

Plot = Callable[..., dict[str, Image.Image]]
NAMES = [
    *("samples", "history", "predictions", "mistakes", "confusion", "corruptions", "reliability"),
]


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    """Return a folder with all that the stage plots reads."""
    (tmp_path / "data").symlink_to(trained / "data")
    shutil.copytree(trained / "plots", tmp_path / "plots")
    shutil.copytree(trained / "metrics", tmp_path / "metrics")
    return tmp_path


@pytest.fixture
def plot(folder: Path, call_stage: Stage) -> Plot:
    """Return a function that runs the stage and returns its figures."""

    def plotted(**settings: int) -> dict[str, Image.Image]:
        params: Params = params_of_project()
        params["plots"] |= settings
        write_params(folder, params)
        result = call_stage("plots", folder)
        assert result.returncode == 0, result.stderr
        return {name: Image.open(folder / f"plots/{name}.png") for name in NAMES}

    return plotted


def blocks(figure: Image.Image, images: np.ndarray, scale: int) -> list[tuple[int, int]]:
    """Return where each image stands in a figure, every pixel a square of `scale` pixels."""
    pixels = np.asarray(figure.convert("RGB"))
    found = []
    for image in images:
        block = np.rint(image * 255).astype(np.uint8).repeat(scale, 0).repeat(scale, 1)
        side = len(block)
        # Candidates by the first row's first and last pixel; then all of the block.
        rows, columns = np.nonzero(
            (pixels[: 1 - side, : 1 - side] == block[0, 0]).all(-1)
            & (pixels[: 1 - side, side - 1 :] == block[0, -1]).all(-1)
            & (pixels[side - 1 :, : 1 - side] == block[-1, 0]).all(-1)
        )
        places = [
            (int(row), int(column))
            for row, column in zip(rows, columns, strict=True)
            if (pixels[row : row + side, column : column + side] == block).all()
        ]
        assert len(places) == 1, "an image is not shown pixel by pixel"
        found.append(places[0])
    return found


@pytest.mark.parametrize(("columns", "rows", "dpi", "scale"), [(6, 4, 100, 4), (3, 2, 160, 6)])
def test_images_are_sharp_and_in_order(
    plot: Plot, folder: Path, columns: int, rows: int, dpi: int, scale: int
) -> None:
    figures = plot(columns=columns, rows=rows, dpi=dpi)
    shown = columns * rows
    predictions = pd.read_csv(folder / "plots/predictions.csv")
    wrong = predictions[predictions["actual"] != predictions["predicted"]]
    worst = wrong.sort_values("confidence", ascending=False, kind="stable")["index"][:shown]
    # A quarter of them wrong, where there are enough.
    right = predictions[predictions["actual"] == predictions["predicted"]]
    count = max(shown // 4, shown - len(right))
    both = sorted([*wrong["index"][:count], *right["index"][: shown - count]])
    test = np.load(folder / "data/processed/test/images.npy", allow_pickle=False)
    train = np.load(folder / "data/processed/train/images.npy", allow_pickle=False)
    for name, images in (
        ("samples", train[:shown]),
        ("predictions", test[both]),
        ("mistakes", test[worst]),
    ):
        places = blocks(figures[name], images, scale)
        assert places == sorted(places)
        assert len({row for row, _ in places}) == rows
        assert len({column for _, column in places}) == columns
    changed = [test[:rows], corrupted(test[:rows], "jpeg_75")]
    places = blocks(figures["corruptions"], np.stack(changed, 1).reshape(-1, 32, 32, 3), scale)
    assert places == sorted(places)
    assert len({row for row, _ in places}) == rows


def test_figures_hold_no_version_and_no_date(plot: Plot, folder: Path) -> None:
    for figure in plot().values():
        assert set(figure.info) <= {"dpi"}
        assert min(figure.size) > 300


def test_no_mistakes_and_no_validation(plot: Plot, folder: Path) -> None:
    path = folder / "plots/predictions.csv"
    predictions = pd.read_csv(path)
    predictions["predicted"] = predictions["actual"]
    predictions.to_csv(path, index=False)
    history = pd.read_csv(folder / "plots/history.csv")
    history.drop(columns=["val_loss", "val_accuracy"]).to_csv(
        folder / "plots/history.csv", index=False
    )
    assert set(plot()) == set(NAMES)


@pytest.mark.parametrize("name", ["history.csv", "predictions.csv", "calibration.csv"])
@pytest.mark.parametrize("damage", ["missing", "empty", "other columns"])
def test_damaged_table_is_refused(call_stage: Stage, folder: Path, name: str, damage: str) -> None:
    write_params(folder, params_of_project())
    path = folder / "plots" / name
    path.unlink()
    if damage != "missing":
        path.write_text("" if damage == "empty" else "a,b\n1,2\n")
    assert_refused(call_stage("plots", folder), f"plots/{name}: ")
    assert not list(folder.glob("plots/*.png"))


@pytest.mark.parametrize(
    ("name", "old", "new", "says"),
    [
        ("predictions.csv", "\n0,", "\n5000,", "predictions.csv: index 5000; allowed are 0 to 199"),
        ("predictions.csv", "\n0,", "\n-1,", "predictions.csv: index -1; allowed are 0 to 199"),
        ("history.csv", "\n1,", "\n<<<<<<< HEAD\n1,", "history.csv: line 2, column epoch: '<<<"),
        (
            "calibration.csv",
            "\n",
            "\n=======\n",
            "calibration.csv: line 2, column confidence: '===",
        ),
    ],
)
def test_damaged_rows_are_refused(
    call_stage: Stage, folder: Path, name: str, old: str, new: str, says: str
) -> None:
    write_params(folder, params_of_project())
    path = folder / "plots" / name
    path.write_text(path.read_text().replace(old, new, 1))
    assert_refused(call_stage("plots", folder), f"plots/{says}")


@pytest.mark.parametrize(
    "content", ["", "null", "[" * 100_000, '{"expected_calibration_error": NaN}']
)
def test_damaged_metrics_are_refused(call_stage: Stage, folder: Path, content: str) -> None:
    write_params(folder, params_of_project())
    (folder / "metrics/evaluate.json").write_text(content)
    result = call_stage("plots", folder)
    assert_refused(result, "metrics/evaluate.json: ", "expected_calibration_error")
