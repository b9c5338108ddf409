"""Confidences that agree with the accuracy on the validation images."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import softmax

from stages import device as device  # First, since TensorFlow reads what it sets.
from stages.errors import InputError
from stages.train.params import Recipe
from stages.train.run import run
from stages.train.temperature import best_temperature, calibration_error, head_of, scale
from tests.unit.tiny import AIRBENCH, TUTORIAL, Loop, images
from tests.unit.tiny_recipes import assembled, tiny

import keras  # isort: skip

GENERATOR = np.random.default_rng(0)
LOGITS = GENERATOR.normal(0, 2, (2000, 10))
# Drawn as the logits say, by Gumbel's trick.
LABELS = (LOGITS + GENERATOR.gumbel(size=LOGITS.shape)).argmax(1)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0, 3.0, 15.0])
def test_the_temperature_of_logits_is_found(temperature: float) -> None:
    found = best_temperature(LOGITS * temperature, LABELS)
    assert found == pytest.approx(temperature, rel=0.1)
    # There the cross-entropy has no slope: the mean logit is that of the labels.
    expected = LOGITS[range(len(LABELS)), LABELS].mean()
    mean = (softmax(LOGITS * temperature / found, axis=1) * LOGITS).sum(1).mean()
    assert mean == pytest.approx(expected, abs=1e-3)


def test_what_is_added_to_all_logits_of_an_image_changes_nothing() -> None:
    shifted = LOGITS + GENERATOR.normal(0, 9, (len(LOGITS), 1))
    assert best_temperature(shifted, LABELS) == pytest.approx(best_temperature(LOGITS, LABELS))


@pytest.mark.parametrize(("answer", "expected"), [(3, 0.05), (4, 20.0)])
def test_the_temperature_has_limits(answer: int, expected: float) -> None:
    """Where all are right, or all are wrong."""
    logits = np.eye(10)[[answer] * 4] * 0.5
    assert best_temperature(logits, np.full(4, 3)) == pytest.approx(expected, rel=1e-3)


def test_error_by_hand() -> None:
    """Two at 0.5, one of them right; two at 0.8, both right; 15 bins."""
    logits = np.log([[0.5, 0.3, 0.2], [0.3, 0.2, 0.5], [0.1, 0.8, 0.1], [0.8, 0.1, 0.1]])
    assert calibration_error(logits, np.array([0, 1, 1, 0])) == pytest.approx((0 + 2 * 0.2) / 4)


@pytest.mark.parametrize("name", ["tutorial", "airbench_small", "resnet20"])
def test_answers_are_scaled_and_stay_the_same(name: str) -> None:
    """Whether or not the head has biases, and a softmax of its own."""
    model = assembled(tiny(name)).model
    shown, _ = images(600, 0)
    head = head_of(model)
    head.set_weights([GENERATOR.normal(0, 5, w.shape) for w in head.get_weights()])
    before = model.predict_on_batch(shown).astype(float)
    labels = before.argmax(1)
    labels[::3] = 3
    results = scale(model, shown, labels.astype(np.uint8))
    after = model.predict_on_batch(shown)
    powers = before ** (1 / results["temperature"])
    np.testing.assert_allclose(after, powers / powers.sum(1, keepdims=True), atol=2e-4)
    np.testing.assert_array_equal(after.argmax(1), before.argmax(1))
    expected = best_temperature(np.log(before), labels)
    assert results == {
        "temperature": pytest.approx(expected, rel=1e-3),
        "val_calibration_error": pytest.approx(
            calibration_error(np.log(after.astype(float)), labels), abs=5e-3
        ),
        "val_calibration_error_unscaled": pytest.approx(
            calibration_error(np.log(before), labels), abs=5e-3
        ),
    }


def network(last: keras.layers.Layer) -> keras.Model:
    """Return a network of two Dense layers and another one."""
    layers = [keras.layers.Flatten(), keras.layers.Dense(9), keras.layers.Dense(10, name="last")]
    return keras.Sequential([keras.Input((2, 2, 3)), *layers, last], name="other")


def test_the_head_is_the_last_layer_with_weights() -> None:
    assert head_of(network(keras.layers.Softmax())).name == "last"


def test_another_kind_of_head_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        head_of(network(keras.layers.BatchNormalization()))
    assert str(caught.value) == (
        "params.yaml: temperature_scaling = True: network other does not end with a Dense layer; "
        "allowed is False"
    )


def results_of(recipe: Recipe, count: int = 300) -> tuple[dict[str, Any], keras.Model]:
    labelled = images(count, 1)
    run("mine", recipe, 3, "auto", images(20, 0), labelled)
    results = json.loads(Path("metrics/train.json").read_text())
    return results, keras.saving.load_model("models/model.keras", safe_mode=True)


def test_the_saved_model_is_scaled(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "GPUS", [])
    Loop().install(monkeypatch)
    results, scaled = results_of(AIRBENCH)
    Loop().install(monkeypatch)
    plain, model = results_of(AIRBENCH.model_copy(update={"temperature_scaling": False}))
    added = ["temperature", "val_calibration_error", "val_calibration_error_unscaled"]
    assert [*results] == [*[*plain][:-2], *added, *[*plain][-2:]]
    shown, labels = images(300, 1)
    logits = np.log(model.predict_on_batch(shown).astype(float))
    temperature = best_temperature(logits, labels)
    assert results["temperature"] == pytest.approx(temperature, rel=1e-4)
    assert results["val_calibration_error_unscaled"] == pytest.approx(
        calibration_error(logits, labels), abs=1e-4
    )
    assert results["val_calibration_error"] == pytest.approx(
        calibration_error(logits / temperature, labels), abs=1e-4
    )
    expected = softmax(logits / temperature, axis=1)
    np.testing.assert_allclose(scaled.predict_on_batch(shown), expected, atol=1e-5)


def test_without_validation_images_nothing_is_scaled(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "GPUS", [])
    loop = Loop().install(monkeypatch)
    results, model = results_of(AIRBENCH, count=0)
    assert "temperature" not in results
    assert loop.training
    np.testing.assert_array_equal(
        head_of(model).get_weights()[0], head_of(loop.training.model).get_weights()[0]
    )


def test_the_tutorial_is_as_it_was() -> None:
    assert AIRBENCH.temperature_scaling
    assert not TUTORIAL.temperature_scaling
