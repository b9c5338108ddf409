"""The stage evaluate: what it writes follows from the model and the test images."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, classification_report, log_loss

from pipeline.data.arrays import load
from pipeline.data.corruptions import corrupted
from pipeline.evaluation.metrics import (
    accuracy_with_interval,
    calibration_table,
    expected_calibration_error,
)
from pipeline.evaluation.predictions import views
from tests.project import Params, Stage, assert_refused, printed, write_params
from tests.small import CLASSES, SIDE, small_project

import keras
import tensorflow as tf

METRICS, MODEL = Path("metrics/evaluate.json"), Path("models/model.keras")


@pytest.fixture
def params(here: Path) -> Params:
    """Return parameters, in a folder with a model and what else the stage reads."""
    MODEL.parent.mkdir()
    keras.utils.set_random_seed(6)
    dense(SIDE).save(MODEL)
    return small_project()


def dense(side: int, activation: str = "softmax") -> keras.Model:
    layers = [keras.layers.Flatten(), keras.layers.Dense(len(CLASSES), activation)]
    return keras.Sequential([keras.Input((side, side, 3)), *layers])


def test_everything_follows_from_the_model(params: Params, call_stage: Stage) -> None:
    *_, line = printed(call_stage("evaluate", Path())).splitlines()
    images, labels = load("test")
    model = keras.saving.load_model(MODEL, safe_mode=True)
    logits = sum(
        weight * np.log(model.predict_on_batch(view).astype(float))
        for weight, view in views(images, "flip_translate")
    )
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    predicted = probabilities.argmax(axis=1)
    names = np.array(CLASSES)

    table = pd.read_csv("plots/predictions.csv")
    assert table["index"].tolist() == [*range(40)]
    assert table["actual"].tolist() == names[labels].tolist()
    assert table["predicted"].tolist() == names[predicted].tolist()
    np.testing.assert_allclose(table["confidence"], probabilities.max(axis=1), atol=2e-6)

    def accuracy(images: np.ndarray) -> float:
        found = model.predict_on_batch(images).argmax(axis=1)
        return accuracy_score(labels[: len(images)], found)

    corruptions = {"none": accuracy(images[:25])}
    for name in ("jpeg_50", "noise_20"):
        corruptions[name] = accuracy(corrupted(images[:25], name))
    report = classification_report(
        labels, predicted, target_names=CLASSES, zero_division=0, output_dict=True
    )
    right = predicted == labels
    bins = calibration_table(probabilities.max(axis=1), right, 4)
    # Otherwise one would be as good as the other.
    assert accuracy(images) != right.mean()
    metrics = json.loads(METRICS.read_text())
    rows, per_class = metrics.pop("corruptions"), metrics.pop("per_class")
    (details,) = metrics.pop("details")
    # Of six digits, one or more may stand before the point.
    assert metrics.pop("log_loss") == pytest.approx(log_loss(labels, probabilities), rel=5e-6)
    assert metrics | details == pytest.approx(
        accuracy_with_interval(right)
        | {
            "accuracy_without_tta": accuracy(images),
            "corruption_accuracy": (corruptions["jpeg_50"] + corruptions["noise_20"]) / 2,
            "calibration_error": expected_calibration_error(bins),
            "macro_f1": report["macro avg"]["f1-score"],
            "balanced_accuracy": report["macro avg"]["recall"],
        },
        abs=2e-6,
    )
    assert {row["corruption"]: row["accuracy"] for row in rows} == pytest.approx(corruptions)
    assert pd.read_csv("plots/corruptions.csv").to_dict("records") == rows
    keys = {"precision": "precision", "recall": "recall", "f1": "f1-score", "images": "support"}
    for name, row in zip(CLASSES, per_class, strict=True):
        assert row.pop("class") == name
        expected = {key: report[name][other] for key, other in keys.items()}
        assert row == pytest.approx(expected, abs=1e-6)
    np.testing.assert_allclose(pd.read_csv("plots/calibration.csv"), bins, atol=2e-6)
    assert f"{metrics['accuracy']:.4f} (test-time augmentation flip_translate)" in line


def test_without_corruptions_there_is_no_mean_of_them(params: Params, call_stage: Stage) -> None:
    params["evaluate"]["corruptions"] = []
    write_params(Path(), params)
    printed(call_stage("evaluate", Path()))
    metrics = json.loads(METRICS.read_text())
    assert "corruption_accuracy" not in metrics
    assert [row["corruption"] for row in metrics["corruptions"]] == ["none"]


@pytest.mark.usefixtures("params")
@pytest.mark.parametrize("damage", ["truncated", "another side", "logits"])
def test_an_unusable_model_is_refused(call_stage: Stage, damage: str) -> None:
    if damage == "another side":
        dense(SIDE + 1).save(MODEL)
    elif damage == "logits":
        dense(SIDE, "linear").save(MODEL)
    else:
        MODEL.write_bytes(MODEL.read_bytes()[:-1000])
    assert_refused(call_stage("evaluate", Path()), "models/model.keras: ")
    assert not METRICS.exists()


@pytest.mark.usefixtures("params")
def test_too_little_memory_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from stages.evaluate import main

    def fail(*given: object) -> None:
        raise tf.errors.ResourceExhaustedError(None, None, "")

    monkeypatch.setattr(keras.Model, "predict_on_batch", fail)
    with pytest.raises(Exception, match="batch_size = 7 needs more memory"):
        main()
