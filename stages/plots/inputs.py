"""Reads what the figures show; people edit these files, and Git merges them."""

import json
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
from pydantic import Field, TypeAdapter, ValidationError

from stages.corruptions import Corruption
from stages.errors import InputError, in_one_line
from stages.params import Section
from stages.problems import explain
from stages.tables import PREDICTIONS, read_table

PLOTS = Path("plots")
METRICS = Path("metrics/evaluate.json")


class Row(Section):
    """What the metrics say of a corruption."""

    corruption: Corruption | Literal["none"]
    accuracy: Annotated[float, Field(ge=0, le=1)]


Rows = Annotated[list[Row], Field(min_length=1)]


def read_history() -> pd.DataFrame:
    """Return the history; without validation images it has no columns val_loss and val_accuracy."""
    path = PLOTS / "history.csv"
    columns = {"epoch": int, "loss": float, "accuracy": float}
    history = read_table(path, columns)
    measured = {name: float for name in ("val_loss", "val_accuracy") if name in history}
    return read_table(path, columns | measured)


def read_predictions(test_images: int) -> pd.DataFrame:
    """Return the predictions; raise an InputError where one is of an image that is not there."""
    path = PLOTS / "predictions.csv"
    predictions = read_table(path, PREDICTIONS)
    for index in predictions["index"]:
        if not 0 <= index < test_images:
            raise InputError(f"{path}: index {index}; allowed are 0 to {test_images - 1}")
    return predictions


def read_calibration_error() -> float:
    """Return the test set's expected calibration error; raise an InputError where there is none."""
    try:
        error = float(json.loads(METRICS.read_text())["expected_calibration_error"])
    except FileNotFoundError:
        raise InputError(f"{METRICS}: missing; `dvc repro evaluate` makes it") from None
    except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as reason:
        why = in_one_line(reason)
        raise InputError(f"{METRICS}: no expected_calibration_error in it: {why}") from None
    if not 0 <= error <= 1:
        raise InputError(f"{METRICS}: expected_calibration_error = {error}; allowed is 0 to 1")
    return error


def read_corruptions() -> dict[Corruption | Literal["none"], float]:
    """Return the accuracy on the test images under each corruption, and before those on none."""
    try:
        given = json.loads(METRICS.read_text())["corruptions"]
        rows: list[Row] = TypeAdapter(Rows).validate_python(given, strict=True)
    except ValidationError as error:
        raise InputError(f"{METRICS}: {explain('corruptions', Rows, error)}") from None
    except (LookupError, RecursionError, TypeError, ValueError) as reason:
        why = in_one_line(reason)
        raise InputError(f"{METRICS}: no list of corruptions in it: {why}") from None
    return {row.corruption: row.accuracy for row in rows}
