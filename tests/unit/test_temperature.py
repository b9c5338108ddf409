"""Confidences that agree with the accuracy on the validation images."""

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from pipeline.common.shell import UserError
from pipeline.training.temperature import best_temperature, calibrate, head_of

import keras

GENERATOR = np.random.default_rng(0)
LOGITS = GENERATOR.normal(0, 2, (2000, 10))
# Drawn as the logits say, by Gumbel's trick.
LABELS = (LOGITS + GENERATOR.gumbel(size=LOGITS.shape)).argmax(1)


@pytest.mark.parametrize("temperature", [0.1, 1.0, 15.0])
def test_the_temperature_of_logits_minimizes_the_cross_entropy(temperature: float) -> None:
    logits = LOGITS * temperature
    found = best_temperature(logits, LABELS)
    assert found == pytest.approx(temperature, rel=0.1)

    def cross_entropy(t: float) -> float:
        return -log_softmax(logits / t, axis=1)[range(len(LABELS)), LABELS].mean()

    assert cross_entropy(found) < min(cross_entropy(found * 0.99), cross_entropy(found * 1.01))


@pytest.mark.parametrize(("predicted", "limit"), [(3, 0.05), (4, 20.0)])
def test_the_temperature_has_limits(predicted: int, limit: float) -> None:
    logits = np.eye(10)[[predicted] * 4] * 0.5
    assert best_temperature(logits, np.full(4, 3)) == pytest.approx(limit, rel=1e-3)


@pytest.mark.parametrize("activation", ["softmax", None])
def test_confidences_are_scaled_and_classes_stay(activation: str | None) -> None:
    """By the head alone, whether the softmax is its own or a layer after it."""
    head = keras.layers.Dense(10, activation)
    after = [] if activation else [keras.layers.Softmax()]
    layers = [keras.layers.Flatten(), keras.layers.Dense(10), head, *after]
    model = keras.Sequential([keras.Input((1, 1, 10)), *layers])
    model.set_weights([np.eye(10), np.zeros(10), 3 * np.eye(10), GENERATOR.normal(0, 1, 10)])
    assert head_of(model) is head
    images = LOGITS.astype(np.float32).reshape(-1, 1, 1, 10)
    before = np.log(np.float64(model.predict_on_batch(images)))
    temperature = calibrate(model, images, LABELS)
    scaled = np.log(np.float64(model.predict_on_batch(images)))
    assert temperature == pytest.approx(3, rel=0.1)
    np.testing.assert_allclose(np.exp(scaled), softmax(before / temperature, axis=1), atol=1e-4)
    np.testing.assert_array_equal(scaled.argmax(1), before.argmax(1))


def test_another_kind_of_head_is_refused() -> None:
    layers = [keras.layers.Dense(10), keras.layers.BatchNormalization()]
    with pytest.raises(UserError, match=r"temperature_scaling = True: .*Dense"):
        head_of(keras.Sequential([keras.Input((3,)), *layers]))
