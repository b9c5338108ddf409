"""The stage evaluate on what a training has made."""

import csv
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from stages import device as device  # First, since TensorFlow reads what it sets.
from stages.cifar10 import CLASSES
from stages.corruptions import corrupted
from stages.evaluate.augmentation import views
from stages.evaluate.params import Tta
from tests.project import Params, Stage, assert_refused, write_params

import keras  # isort: skip


@pytest.mark.parametrize("tta", ["none", "flip", "flip_translate"])
def test_metrics_follow_from_the_model(
    call_stage: Stage, trained: Path, tmp_path: Path, tta: Tta
) -> None:
    for name in ("data", "models"):
        (tmp_path / name).symlink_to(trained / name)
    params: Params = yaml.safe_load((trained / "params.yaml").read_text())
    params["evaluate"]["tta"] = tta
    write_params(tmp_path, params)
    result = call_stage("evaluate", tmp_path)
    assert result.returncode == 0, result.stderr
    trained = tmp_path

    images = np.load(trained / "data/processed/test/images.npy", allow_pickle=False)
    labels = np.load(trained / "data/processed/test/labels.npy", allow_pickle=False)
    model = keras.saving.load_model(trained / "models/model.keras", safe_mode=True)
    answers = [(weight, model(view).numpy()) for weight, view in views(images, tta)]
    probabilities = np.prod([answer**weight for weight, answer in answers], axis=0)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    predicted = probabilities.argmax(1)
    metrics = json.loads((trained / "metrics/evaluate.json").read_text())

    plain = model(images).numpy().argmax(1)
    assert metrics["accuracy_without_tta"] == pytest.approx((plain == labels).mean(), abs=1e-6)
    changed = {name: corrupted(images, name) for name in params["evaluate"]["corruptions"]}
    expected = {
        name: (model(given).numpy().argmax(1) == labels).mean()
        for name, given in ({"none": images} | changed).items()
    }
    found = {row["corruption"]: row["accuracy"] for row in metrics["corruptions"]}
    assert found == pytest.approx(expected, abs=1e-6)
    del found["none"]
    assert metrics["corruption_accuracy"] == pytest.approx(np.mean([*found.values()]), abs=2e-6)
    n, p = len(labels), (predicted == labels).mean()
    assert metrics["accuracy"] == pytest.approx(p, abs=1e-6)
    loss = -np.log(probabilities[np.arange(n), labels])
    assert metrics["loss"] == pytest.approx(loss.mean(), abs=1e-4)
    # Wilson's interval in closed form.
    z = 1.959964
    centre, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert metrics["accuracy_low"] == pytest.approx((centre - half) / (1 + z * z / n), abs=2e-6)
    assert metrics["accuracy_high"] == pytest.approx((centre + half) / (1 + z * z / n), abs=2e-6)

    assert [row["class"] for row in metrics["per_class"]] == list(CLASSES)
    for number, row in enumerate(metrics["per_class"]):
        hits = ((predicted == number) & (labels == number)).sum()
        precision = hits / max((predicted == number).sum(), 1)
        recall = hits / (labels == number).sum()
        f1 = 2 * precision * recall / (precision + recall) if hits else 0
        assert row["precision"] == pytest.approx(precision, abs=1e-6)
        assert row["recall"] == pytest.approx(recall, abs=1e-6)
        assert row["f1"] == pytest.approx(f1, abs=1e-6)
        assert row["images"] == (labels == number).sum()
    scores = [row["f1"] for row in metrics["per_class"]]
    assert metrics["macro_f1"] == pytest.approx(np.mean(scores), abs=1e-6)

    with (trained / "plots/predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["index"] for row in rows] == [str(i) for i in range(n)]
    assert [row["actual"] for row in rows] == [CLASSES[label] for label in labels]
    assert [row["predicted"] for row in rows] == [CLASSES[label] for label in predicted]
    confidence = [float(row["confidence"]) for row in rows]
    np.testing.assert_allclose(confidence, probabilities.max(1), atol=1e-5)


@pytest.mark.parametrize("damage", ["missing", "truncated", "another network", "not finite"])
def test_unusable_model_is_refused(
    call_stage: Stage, trained: Path, tmp_path: Path, damage: str
) -> None:
    (tmp_path / "data").symlink_to(trained / "data")
    shutil.copy(trained / "params.yaml", tmp_path)
    path = tmp_path / "models/model.keras"
    path.parent.mkdir()
    if damage == "truncated":
        path.write_bytes((trained / "models/model.keras").read_bytes()[:-1000])
    elif damage == "another network":
        keras.Sequential([keras.Input((5,)), keras.layers.Dense(2)]).save(path)
    elif damage == "not finite":
        model = keras.saving.load_model(trained / "models/model.keras", safe_mode=True)
        model.set_weights([np.full_like(weight, np.nan) for weight in model.get_weights()])
        model.save(path)
    result = call_stage("evaluate", tmp_path)
    assert_refused(result, "models/model.keras: ")
    assert not (tmp_path / "metrics").exists()
