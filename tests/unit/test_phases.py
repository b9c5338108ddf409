"""Which images and variables each epoch trains, and the networks for them."""

from pathlib import Path

import numpy as np
import pytest

from stages import device as device  # First, since TensorFlow reads what it sets.
from stages.errors import InputError
from stages.train.params import read_recipe
from stages.train.phases import at_side
from stages.train.recipes import Training
from tests.project import Params, write_params
from tests.unit.picked import epoch_of
from tests.unit.tiny_recipes import IMAGES, LABELS, assembled, tiny

import tensorflow as tf  # isort: skip


@pytest.fixture(scope="module")
def airbench_small() -> Training:
    """Return what the recipe trains, which is not to be trained."""
    return assembled(tiny("airbench_small"))


# Of airbench: epochs, share of them on small images, epochs that train the first layer's bias;
# and the phases: first epoch, the one after the last, side of the images, whether the bias learns.
PHASES = [
    (5, 0.4, 3, [(0, 2, 9, True), (2, 3, 32, True), (3, 5, 32, False)]),
    (6, 0.67, 1, [(0, 1, 9, True), (1, 4, 9, False), (4, 6, 32, False)]),
    (4, 0.6, 0, [(0, 2, 9, False), (2, 4, 32, False)]),
    (4, 0.65, 9, [(0, 3, 9, True), (3, 4, 32, True)]),
    (4, 1.0, 9, [(0, 3, 9, True), (3, 4, 32, True)]),
    (2, 0.2, 2, [(0, 2, 32, True)]),
    (1, 1.0, 0, [(0, 1, 32, False)]),
]


@pytest.mark.parametrize(("epochs", "share", "whitening_epochs", "expected"), PHASES)
def test_phases_of_airbench(
    epochs: int, share: float, whitening_epochs: int, expected: list[tuple[int, int, int, bool]]
) -> None:
    network, low = {"whitening_epochs": whitening_epochs}, {"low_resolution_share": share}
    recipe = tiny("airbench_small", network=network, augmentation=low, epochs=epochs)
    training = assembled(recipe)
    everything = {variable.path for variable in training.model.trainable_variables}
    for phase, (first, after, side, trains_bias) in zip(training.phases, expected, strict=True):
        assert phase.epochs == range(first, after)
        assert phase.model.input_shape == (None, side, side, 3)
        assert next(epoch_of(phase.batches, 0))[0].shape == (3, side, side, 3)
        left_out = everything - {variable.path for variable in phase.variables}
        assert left_out == (set() if trains_bias else {"whitening/bias"})


def test_phases_share_their_weights_and_order(airbench_small: Training) -> None:
    training = airbench_small
    small, large = training.phases[0], training.phases[-1]
    for phase in training.phases:
        assert [id(weight) for weight in phase.model.weights] == [
            id(weight) for weight in training.model.weights
        ]
        assert {id(v) for v in phase.variables} <= {id(v) for v in training.model.variables}
    assert training.model.input_shape == (None, 32, 32, 3)
    for (_, one), (_, other) in zip(
        epoch_of(small.batches, 1), epoch_of(large.batches, 1), strict=True
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("optimizer", ["rmsprop", "sgd", "adam", "adamw", "muon"])
def test_what_has_done_learning_stays_as_it_is(optimizer: str) -> None:
    """Nor does it decay; everything else goes on, with any optimizer."""
    decay = {} if optimizer == "muon" else {"weight_decay": 0.1}
    recipe = tiny("airbench_small", optimizer={"name": optimizer, **decay})
    training = assembled(recipe)
    # One epoch trains all, the other one all but the bias.
    for phase, left in zip(training.phases, (set(), {"whitening/bias"}), strict=True):
        before = {v.path: v.numpy() for v in training.model.trainable_variables}
        gradients = [tf.ones(variable.shape) for variable in phase.variables]
        training.optimizer.apply(gradients, phase.variables)
        same = {
            variable.path
            for variable in training.model.trainable_variables
            if np.array_equal(variable.numpy(), before[variable.path])
        }
        assert same == left


def test_first_epochs_see_the_images_shrunk() -> None:
    side = 20
    low = {"low_resolution": side, "translation": 0, "noise": 0.0}
    recipe = tiny("airbench_small", augmentation=low, batch_size=5)
    small, large = assembled(recipe).phases
    (picked, labels), *_ = epoch_of(small.batches, 0)
    (whole, same_labels), *_ = epoch_of(large.batches, 0)
    np.testing.assert_array_equal(labels, same_labels)
    resized = tf.image.resize(whole, (side, side), antialias=True)
    np.testing.assert_allclose(picked, resized, atol=1e-5)


def test_tutorial_has_one_phase_on_the_images_as_they_are() -> None:
    training = assembled(tiny("tutorial", epochs=4))
    (phase,) = training.phases
    assert phase.epochs == range(4)
    assert phase.model is training.model
    assert phase.variables == training.model.trainable_variables
    batches = list(epoch_of(phase.batches, 0))
    assert [len(labels) for _, labels in batches] == [3, 2]
    images = np.concatenate([images for images, _ in batches])
    labels = np.concatenate([labels for _, labels in batches])
    index = [int(np.flatnonzero((image == IMAGES).all((1, 2, 3)))[0]) for image in images]
    assert sorted(index) == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(labels, LABELS[index])


@pytest.mark.parametrize(("epochs", "share", "first"), [(4, 0.5, 2), (3, 1.0, 2), (2, 0.2, 0)])
def test_resnets_first_epochs_are_on_small_images(epochs: int, share: float, first: int) -> None:
    """Of a side that no pooling has to divide; everything learns in each of them."""
    low = {"low_resolution": 5, "low_resolution_share": share}
    training = assembled(tiny("resnet20", augmentation=low, epochs=epochs))
    found = [
        (phase.epochs, phase.model.input_shape[1], next(epoch_of(phase.batches, 0))[0].shape)
        for phase in training.phases
    ]
    small = [(range(first), 5, (3, 5, 5, 3))] if first else []
    assert found == [*small, (range(first, epochs), 32, (3, 32, 32, 3))]
    for phase in training.phases:
        assert phase.variables == training.model.trainable_variables


@pytest.mark.parametrize(
    ("name", "side"), [("airbench_small", 9), ("airbench_small", 25), ("resnet20", 1)]
)
def test_a_network_at_another_side_learns_with_it(name: str, side: int) -> None:
    """They share all weights; what they answer is told by formulas, with each network's tests."""
    model = assembled(tiny(name)).model
    other = at_side(model, side)
    assert other.input_shape == (None, side, side, 3)
    assert other.output_shape == (None, 10)
    assert other.name == model.name
    assert [id(variable) for variable in other.weights] == [id(v) for v in model.weights]
    assert at_side(model, 32) is model
    images = IMAGES[:, :side, :side]
    before = other(images).numpy()
    model.get_layer("logits").kernel.assign_add(np.eye(*model.get_layer("logits").kernel.shape))
    assert not np.allclose(other(images), before)


def test_images_of_side_9_are_airbenchs_smallest(folder: Path, params: Params) -> None:
    """Of side 8, nothing is left for the third block's pooling."""
    assembled(tiny("airbench_small", augmentation={"low_resolution": 9}))
    params["recipes"]["airbench_small"]["augmentation"]["low_resolution"] = 8
    write_params(folder, params)
    with pytest.raises(InputError) as caught:
        read_recipe()
    assert str(caught.value) == (
        "params.yaml: recipes.airbench_small.augmentation.low_resolution = 8: network airbench "
        "takes no images below 9 x 9 pixels; allowed are 9 to 32, low_resolution_share 0, or "
        "network.name resnet"
    )
