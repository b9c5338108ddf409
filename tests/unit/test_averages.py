"""The moving average of the weights, by its formula in NumPy, and where it is used."""

import json
from pathlib import Path

import numpy as np
import pytest

from stages import device  # First, since TensorFlow reads what it sets.
from stages.train.averages import average
from stages.train.loop import train
from stages.train.run import run
from tests.unit.eager import without_graphs as without_graphs
from tests.unit.tiny import images
from tests.unit.tiny_recipes import IMAGES, LABELS, assembled, tiny

import keras  # isort: skip
import tensorflow as tf  # isort: skip

Weights = list[np.ndarray]


def network() -> keras.Model:
    """Return a network with weights that are trained, that are not, and statistics."""
    dense, frozen = keras.layers.Dense(3), keras.layers.Dense(2, trainable=False)
    layers = [dense, keras.layers.BatchNormalization(), frozen]
    return keras.Sequential([keras.Input((4,)), *layers])


def kept_share(momentum: float, steps: int) -> float:
    return min(momentum, (1 + steps) / (10 + steps))


def moved(mean: Weights, weights: Weights, kept: float) -> Weights:
    return [kept * m + (1 - kept) * weight for m, weight in zip(mean, weights, strict=True)]


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_the_average_keeps_its_share_of_each_weight(compiled: bool) -> None:
    """Of 0.5 from step 8 on, when (1 + 8) / (10 + 8) is as much."""
    model, averaged = network(), network()
    function = tf.function(average) if compiled else average
    generator = np.random.default_rng(0)
    expected = averaged.get_weights()
    for steps in (1, 2, 7, 8, 9, 1000):
        model.set_weights([generator.normal(size=w.shape) for w in model.get_weights()])
        weights = model.get_weights()
        function(averaged, model, 0.5, tf.constant(steps))
        expected = moved(expected, weights, kept_share(0.5, steps))
        for found, mean in zip(averaged.get_weights(), expected, strict=True):
            np.testing.assert_allclose(found, mean, rtol=1e-5, atol=1e-6)
        # What is averaged stays as it is.
        np.testing.assert_equal(model.get_weights(), weights)


def loss_of(model: keras.Model, images: np.ndarray, labels: np.ndarray, smoothing: float) -> float:
    answers = np.asarray(model(images, training=False), np.float64)
    target = (1 - smoothing) * np.eye(10)[labels] + smoothing / 10
    return float(-(target * np.log(answers)).sum(1).mean())


@pytest.mark.usefixtures("without_graphs")
@pytest.mark.parametrize("name", ["airbench_small", "tutorial", "resnet20"])
def test_each_step_moves_the_average_which_is_what_is_validated(name: str) -> None:
    """One step an epoch; airbench trains all, then all but a bias, then on larger images."""
    recipe = tiny(name, ema_momentum=0.28, batch_size=5, epochs=4)
    training = assembled(recipe)
    assert training.averaged
    expected = training.model.get_weights()
    np.testing.assert_equal(training.averaged.get_weights(), expected)
    validation = IMAGES[::-1] / 2, LABELS[::-1]
    for steps, row in enumerate(train(training, *validation), start=1):
        expected = moved(expected, training.model.get_weights(), kept_share(0.28, steps))
        for found, mean in zip(training.averaged.get_weights(), expected, strict=True):
            np.testing.assert_allclose(found, mean, rtol=1e-4, atol=1e-5)
        loss = loss_of(training.averaged, *validation, recipe.label_smoothing)
        assert row["val_loss"] == pytest.approx(loss, 1e-5)
        of_model = loss_of(training.model, *validation, recipe.label_smoothing)
        assert row["val_loss"] != pytest.approx(of_model, 1e-4)
    assert steps == 4
    assert training.kept is training.measured is training.averaged
    if name == "airbench_small":
        assert len(training.phases) == 3


def test_without_a_momentum_there_is_no_average() -> None:
    training = assembled(tiny("tutorial"))
    assert training.averaged is None
    assert training.kept is training.measured is training.model


@pytest.mark.usefixtures("without_graphs")
@pytest.mark.parametrize("keep", ["last", "best"])
def test_the_weights_that_are_validated_are_saved(
    folder: Path, monkeypatch: pytest.MonkeyPatch, keep: str
) -> None:
    """And the results are those of the saved file, which the default Keras loads."""
    monkeypatch.setattr(device, "GPUS", [])
    # At this rate, the weights are far from their averages.
    fast = {"learning_rate": 0.05}
    recipe = tiny("tutorial", optimizer=fast, keep=keep, ema_momentum=0.7, batch_size=10)
    validation = images(5, 1)
    run("mine", recipe, 3, "auto", images(20, 0), validation)
    loaded = keras.saving.load_model("models/model.keras", safe_mode=True)
    results = json.loads(Path("metrics/train.json").read_text())
    assert results["val_loss"] == pytest.approx(loss_of(loaded, *validation, 0), 1e-5)
