"""Renders what was learned as PNG figures."""

from typing import Annotated, Literal

import pandas as pd
from pydantic import Field

from pipeline import figures
from pipeline.common import paths
from pipeline.common.config import Corruption, Count, NotNegative, ZeroToOne
from pipeline.common.params import read_params
from pipeline.common.shell import run_stage
from pipeline.common.tables import read_table
from pipeline.data.arrays import load, read_dataset
from pipeline.evaluation.metrics import expected_calibration_error

CURVES = {"loss": NotNegative, "accuracy": ZeroToOne}
# Without validation images there are none.
VALIDATION_CURVES = {f"val_{name}": kind for name, kind in CURVES.items()}
CALIBRATION = {
    "confidence": ZeroToOne,
    "accuracy": ZeroToOne,
    "count": Annotated[int, Field(ge=1)],
}
CORRUPTIONS = {"corruption": Corruption | Literal["none"], "accuracy": ZeroToOne}


def main() -> None:
    params = read_params().plots
    classes = read_dataset().classes
    train_images, train_labels = load("train")
    test_images, _ = load("test")
    index = Annotated[int, Field(ge=0, lt=len(test_images))]
    known = Literal[classes]  # type: ignore[valid-type]
    columns = {"index": index, "actual": known, "predicted": known, "confidence": ZeroToOne}
    predictions = read_table(paths.PREDICTIONS, columns)
    history = read_table(paths.HISTORY, {"epoch": Count} | CURVES, VALIDATION_CURVES)
    calibration = read_table(paths.CALIBRATION, CALIBRATION)
    corruptions = read_table(paths.CORRUPTIONS, CORRUPTIONS)

    shown = params.columns * params.rows
    layout = params.columns, params.dpi
    names = [classes[label] for label in train_labels[:shown]]
    heading = f"First {len(names)} of {len(train_images):,} training images"
    samples = figures.image_grid(train_images[:shown], names, heading, *layout)

    is_right = predictions["actual"] == predictions["predicted"]
    examples = first_of_both(predictions, shown)
    right = int(is_right[examples.index].sum())
    heading = (
        f"First {right:,} right and first {len(examples) - right:,} wrong (orange) predictions; "
        "R: real class, P: predicted"
    )
    first = figures.predictions_grid(examples, test_images, heading, *layout)

    wrong = predictions[~is_right]
    most_confident = wrong.sort_values("confidence", ascending=False, kind="stable")[:shown]
    heading = f"Most confident of {len(wrong):,} mistakes on {len(predictions):,} test images"
    mistakes = figures.predictions_grid(most_confident, test_images, heading, *layout)

    error = expected_calibration_error(calibration)
    made = {
        "samples": samples,
        "history": figures.history_chart(history),
        "predictions": first,
        "mistakes": mistakes,
        "confusion": figures.confusion_chart(predictions, classes),
        "corruptions": figures.corruptions_grid(
            corruptions, test_images[: params.rows], params.dpi
        ),
        "reliability": figures.reliability_chart(calibration, predictions, error),
    }
    for name, figure in made.items():
        figures.save(figure, paths.PLOTS / f"{name}.png", params.dpi)
    print(f"{len(made)} figures in {paths.PLOTS}")


def first_of_both(predictions: pd.DataFrame, count: int) -> pd.DataFrame:
    """Return so many of the first rows, a quarter of them wrong where there are enough of both."""
    is_right = predictions["actual"] == predictions["predicted"]
    wrong = predictions[~is_right][: max(count // 4, count - is_right.sum())]
    right = predictions[is_right][: count - len(wrong)]
    return pd.concat([right, wrong]).sort_index()


if __name__ == "__main__":
    run_stage(main, __doc__)
