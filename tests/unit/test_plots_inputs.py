"""What the stage plots reads: the tables and the metrics, or one line that refuses them."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stages import arrays
from stages.errors import InputError
from stages.plots.__main__ import main
from stages.plots.inputs import (
    read_calibration_error,
    read_corruptions,
    read_history,
    read_predictions,
)
from tests.project import Params

MISSING = "missing; `dvc repro` makes it"
HISTORY = "epoch,loss,accuracy,val_loss,val_accuracy\n1,2,0.5,3,0.25\n"


@pytest.fixture
def tables(folder: Path) -> Path:
    """Return the folder plots with a history and predictions of two images."""
    path = folder / "plots"
    path.mkdir()
    (path / "history.csv").write_text(HISTORY)
    (path / "predictions.csv").write_text(
        "index,actual,predicted,confidence\n1,cat,dog,0.5\n0,ship,ship,0.25\n"
    )
    return path


def test_history(tables: Path) -> None:
    history = read_history()
    assert history.to_dict("list") == {
        "epoch": [1],
        "loss": [2],
        "accuracy": [0.5],
        "val_loss": [3],
        "val_accuracy": [0.25],
    }
    assert {str(history[name].dtype) for name in history if name != "epoch"} == {"float64"}


def test_history_without_validation(tables: Path) -> None:
    (tables / "history.csv").write_text("epoch,loss,accuracy\n1,2,0.5\n")
    assert read_history().to_dict("records") == [{"epoch": 1, "loss": 2, "accuracy": 0.5}]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("1,2", "1.5,2", "line 2, column epoch: '1.5'; allowed is a whole number"),
        ("loss", "lose", "no column loss; found epoch, lose, accuracy, val_loss, val_accuracy"),
        ("1,2", "1,x", "line 2, column loss: 'x'; allowed is a finite number"),
        ("0.5", "x", "line 2, column accuracy: 'x'; allowed is a finite number"),
        (",3,", ",x,", "line 2, column val_loss: 'x'; allowed is a finite number"),
        ("0.25", "x", "line 2, column val_accuracy: 'x'; allowed is a finite number"),
    ],
)
def test_damaged_history(tables: Path, old: str, new: str, says: str) -> None:
    (tables / "history.csv").write_text(HISTORY.replace(old, new, 1))
    with pytest.raises(InputError) as caught:
        read_history()
    assert str(caught.value) == f"plots/history.csv: {says}"


def test_index_is_of_a_test_image(tables: Path) -> None:
    assert read_predictions(2)["index"].tolist() == [1, 0]
    with pytest.raises(InputError) as caught:
        read_predictions(1)
    assert str(caught.value) == "plots/predictions.csv: index 1; allowed are 0 to 0"
    path = tables / "predictions.csv"
    path.write_text(path.read_text().replace("\n0", "\n-1"))
    with pytest.raises(InputError) as caught:
        read_predictions(200)
    assert str(caught.value) == "plots/predictions.csv: index -1; allowed are 0 to 199"


@pytest.mark.parametrize("error", [0.0, 0.125, 1.0])
def test_calibration_error(folder: Path, error: float) -> None:
    Path("metrics").mkdir()
    Path("metrics/evaluate.json").write_text(f'{{"expected_calibration_error": {error}}}')
    assert read_calibration_error() == error


NONE = "no expected_calibration_error in it: "
LIMITS = "allowed is 0 to 1"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "missing; `dvc repro evaluate` makes it"),
        ("", f"{NONE}Expecting value: line 1 column 1 (char 0)"),
        ("null", f"{NONE}'NoneType' object is not subscriptable"),
        ("{}", f"{NONE}'expected_calibration_error'"),
        (
            '{"expected_calibration_error": "\\n"}',
            f"{NONE}could not convert string to float: '\\n'",
        ),
        (
            f'{{"expected_calibration_error": 1{"0" * 400}}}',
            f"{NONE}int too large to convert to float",
        ),
        ('{"expected_calibration_error": NaN}', f"expected_calibration_error = nan; {LIMITS}"),
        ('{"expected_calibration_error": -0.1}', f"expected_calibration_error = -0.1; {LIMITS}"),
        ('{"expected_calibration_error": 1.1}', f"expected_calibration_error = 1.1; {LIMITS}"),
    ],
)
def test_damaged_metrics(folder: Path, content: str | None, says: str) -> None:
    Path("metrics").mkdir()
    if content is not None:
        Path("metrics/evaluate.json").write_text(content)
    with pytest.raises(InputError) as caught:
        read_calibration_error()
    assert str(caught.value) == f"metrics/evaluate.json: {says}"


def test_metrics_too_deep(folder: Path) -> None:
    Path("metrics").mkdir()
    Path("metrics/evaluate.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match=rf"^metrics/evaluate.json: {NONE}maximum recursion depth"):
        read_calibration_error()


def test_accuracy_under_corruptions(folder: Path) -> None:
    Path("metrics").mkdir()
    rows = [("none", 1), ("jpeg_50", 0.25), ("noise_8", 0)]
    written = [{"corruption": name, "accuracy": accuracy} for name, accuracy in rows]
    Path("metrics/evaluate.json").write_text(json.dumps({"corruptions": written}))
    assert [*read_corruptions().items()] == rows


FIRST = '{"corruptions": [{"corruption": "none", "accuracy": 0.5}'
NO_LIST = "no list of corruptions in it: "


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[", f"{NO_LIST}Expecting value: line 1 column 2 (char 1)"),
        ("[]", f"{NO_LIST}list indices must be integers or slices, not str"),
        ("{}", f"{NO_LIST}'corruptions'"),
        ("[" * 100_000, f"{NO_LIST}maximum recursion depth exceeded"),
        (
            '{"corruptions": []}',
            "corruptions = []: List should have at least 1 item after validation, not 0",
        ),
        ('{"corruptions": 3}', "corruptions = 3: should be a valid list"),
        (f'{FIRST}, {{"accuracy": 1}}]}}', "corruptions.1.corruption: missing"),
        (
            f'{FIRST}, {{"corruption": "none", "accuracy": 1, "note": ""}}]}}',
            "corruptions.1.note = '': unknown key; allowed are corruption, accuracy",
        ),
        (
            f'{FIRST}, {{"corruption": "jpeg_75", "accuracy": 1.5}}]}}',
            "corruptions.1.accuracy = 1.5: should be less than or equal to 1",
        ),
        (
            f'{FIRST}, {{"corruption": "jpeg_75", "accuracy": NaN}}]}}',
            "corruptions.1.accuracy = nan: should be a finite number",
        ),
    ],
)
def test_damaged_corruptions(folder: Path, content: str, says: str) -> None:
    Path("metrics").mkdir()
    Path("metrics/evaluate.json").write_text(content)
    with pytest.raises(InputError) as caught:
        read_corruptions()
    assert str(caught.value).startswith(f"metrics/evaluate.json: {says}")


def test_everything_is_checked_before_a_figure_is_drawn(
    tables: Path, params: Params, call: Callable[..., None]
) -> None:
    images, labels = np.zeros((2, 32, 32, 3), np.uint8), np.array([3, 4], np.uint8)
    refusals = []
    makings: list[Callable[[], object]] = [
        lambda: arrays.save("train", images, labels),
        lambda: arrays.save("test", images, labels),
        lambda: (tables / "calibration.csv").write_text("confidence,accuracy,count\n0.5,1,1.5\n"),
        lambda: (tables / "calibration.csv").write_text("confidence,accuracy,count\n0.5,x,1\n"),
        lambda: (tables / "calibration.csv").write_text("confidence,accuracy,count\n,1,1\n"),
        lambda: (tables / "calibration.csv").write_text("confidence,accuracy,count\n0.5,1,1\n"),
    ]
    for make in makings:
        with pytest.raises(InputError) as caught:
            call(main)
        refusals.append(str(caught.value))
        make()
    with pytest.raises(InputError) as caught:
        call(main)
    assert [*refusals, str(caught.value)] == [
        "data/processed/train/images.npy: missing; `dvc repro preprocess` makes it",
        "data/processed/test/images.npy: missing; `dvc repro preprocess` makes it",
        f"plots/calibration.csv: {MISSING}",
        "plots/calibration.csv: line 2, column count: '1.5'; allowed is a whole number",
        "plots/calibration.csv: line 2, column accuracy: 'x'; allowed is a finite number",
        "plots/calibration.csv: line 2, column confidence: ''; allowed is a finite number",
        "metrics/evaluate.json: missing; `dvc repro evaluate` makes it",
    ]
    assert not [*tables.glob("*.png")]
