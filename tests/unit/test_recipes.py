"""What a recipe's parameters do, by the formulas of its method."""

from pathlib import Path

import numpy as np
import pytest

from stages import device as device  # First, since TensorFlow reads what it sets.
from stages.errors import InputError
from stages.models import airbench
from stages.train.params import read_recipe
from stages.train.recipes import Training
from tests.project import Params, write_params
from tests.unit.tiny_recipes import IMAGES, LABELS, assembled, tiny

import tensorflow as tf  # isort: skip


@pytest.fixture(scope="module")
def airbench_small() -> Training:
    """Return what the recipe trains, which is not to be trained."""
    return assembled(tiny("airbench_small"))


def gradients(training: Training, step: int) -> list[np.ndarray]:
    """Return a random gradient for each variable, others at each step."""
    generator = np.random.default_rng(step)
    return [
        generator.normal(size=variable.shape).astype(np.float32)
        for variable in training.model.trainable_variables
    ]


def apply(training: Training, of_step: list[np.ndarray]) -> list[np.ndarray]:
    """Take one step by the gradients, and return what the variables are then."""
    variables = training.model.trainable_variables
    training.optimizer.apply([tf.constant(gradient) for gradient in of_step], variables)
    return [variable.numpy() for variable in variables]


def test_tutorial_takes_steps_of_rmsprop() -> None:
    settings = {"learning_rate": 0.02, "rho": 0.7, "momentum": 0.3, "epsilon": 0.05}
    training = assembled(tiny("tutorial", **settings))
    expected = [variable.numpy() for variable in training.model.trainable_variables]
    mean_squares = [np.zeros_like(start) for start in expected]
    moments = [np.zeros_like(start) for start in expected]
    for step in range(3):
        of_step = gradients(training, step)
        found = apply(training, of_step)
        for index, gradient in enumerate(of_step):
            mean_squares[index] = 0.7 * mean_squares[index] + 0.3 * gradient**2
            scaled = 0.02 * gradient / np.sqrt(mean_squares[index] + 0.05)
            moments[index] = 0.3 * moments[index] + scaled
            expected[index] = expected[index] - moments[index]
            np.testing.assert_allclose(found[index], expected[index], rtol=1e-4, atol=1e-5)


def newton_schulz(matrix: np.ndarray, steps: int) -> np.ndarray:
    """Apply the published polynomial to the singular values, which leaves their vectors alone."""
    u, values, v = np.linalg.svd(matrix, full_matrices=False)
    values /= np.sqrt(np.sum(values**2))
    for _ in range(steps):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    return (u * values) @ v


def test_airbench_takes_steps_of_muon_and_sgd_at_falling_rates() -> None:
    """Every variable at every step, and at one beyond the last, where the rates are zero."""
    settings = {
        "epochs": 3,
        "whitening_epochs": 2,
        "learning_rate": 0.3,
        "momentum": 0.6,
        "newton_schulz_steps": 2,
        "bias_learning_rate": 0.05,
        "head_learning_rate": 0.02,
        "sgd_momentum": 0.8,
        "weight_decay": 0.01,
        "batch_size": 3,
    }
    training = assembled(tiny("airbench_small", **settings))
    variables = training.model.trainable_variables
    # 5 images in batches of 3: two steps an epoch. First rate and steps until it is zero:
    rates = {
        "whitening/bias": (0.15, 4),
        "logits/kernel": (0.06, 6),
        "/beta": (0.15, 6),
    }
    expected = [variable.numpy() for variable in variables]
    velocities = [np.zeros_like(start) for start in expected]
    by_muon = 0
    for step in range(7):
        of_step = gradients(training, step)
        found = apply(training, of_step)
        for index, (variable, gradient) in enumerate(zip(variables, of_step, strict=True)):
            before = expected[index]
            own = [rates[end] for end in rates if variable.path.endswith(end)]
            if own:
                ((first, steps),) = own
                rate = first * max(0, 1 - step / steps)
                # The decay of 0.01 for each of 3 images, as the rate falls.
                gradient = gradient + 0.03 / first * before
                velocities[index] = 0.8 * velocities[index] + gradient
                expected[index] = before - rate * (gradient + 0.8 * velocities[index])
            else:
                by_muon += 1
                filters = variable.shape[-1]
                velocities[index] = 0.6 * velocities[index] + gradient
                matrix = (gradient + 0.6 * velocities[index]).reshape(-1, filters)
                update = newton_schulz(matrix, 2).reshape(before.shape)
                scaled = before / np.linalg.norm(before) * np.sqrt(filters)
                expected[index] = scaled - 0.3 * max(0, 1 - step / 6) * update
            np.testing.assert_allclose(
                found[index], expected[index], rtol=1e-4, atol=1e-5, err_msg=variable.path
            )
    assert by_muon == 7 * 6
    assert len(variables) == 6 + 6 + 1 + 1


@pytest.mark.parametrize("whitening_epochs", [0, 1, 3])
def test_first_layers_bias_learns_for_its_epochs(whitening_epochs: int) -> None:
    """Two steps each, at 0.05 for each of 3 images, falling to zero."""
    rates = {"bias_learning_rate": 0.05, "sgd_momentum": 0.0, "weight_decay": 0.0}
    recipe = tiny("airbench_small", epochs=4, whitening_epochs=whitening_epochs, **rates)
    training = assembled(recipe)
    bias = training.model.get_layer("whitening").bias
    expected = 0.0
    for phase in training.phases:
        for epoch in phase.epochs:
            for step in (2 * epoch, 2 * epoch + 1):
                if any(variable is bias for variable in phase.variables):
                    training.optimizer.apply([tf.ones(24)], [bias])
                    expected -= 0.15 * (1 - step / (2 * whitening_epochs))
                np.testing.assert_allclose(bias.numpy(), np.full(24, expected), rtol=1e-5)
    assert expected == pytest.approx([0, -0.225, 0, -0.525][whitening_epochs])


@pytest.mark.parametrize(("name", "smoothing"), [("tutorial", 0.0), ("airbench_small", 0.3)])
def test_labels_are_smoothed(name: str, smoothing: float) -> None:
    """Cross-entropy with labels of 1 - smoothing, and smoothing spread over ten classes."""
    recipe = tiny(name, **({"label_smoothing": smoothing} if smoothing else {}))
    probabilities = np.random.default_rng(0).dirichlet(np.ones(10), 3)
    labels = np.eye(10)[[2, 7, 5]]
    target = labels * (1 - smoothing) + smoothing / 10
    expected = -(target * np.log(probabilities)).sum(1).mean()
    assert float(assembled(recipe).loss(labels, probabilities)) == pytest.approx(expected, 1e-5)


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
    settings = {"epochs": epochs, "low_resolution_share": share}
    training = assembled(tiny("airbench_small", whitening_epochs=whitening_epochs, **settings))
    everything = {variable.path for variable in training.model.trainable_variables}
    for phase, (first, after, side, trains_bias) in zip(training.phases, expected, strict=True):
        assert phase.epochs == range(first, after)
        assert phase.model.input_shape == (None, side, side, 3)
        assert next(phase.batches.epoch(0))[0].shape == (3, side, side, 3)
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
    for (_, one), (_, other) in zip(small.batches.epoch(1), large.batches.epoch(1), strict=True):
        np.testing.assert_array_equal(one, other)


def test_first_epochs_see_the_images_shrunk() -> None:
    side = 20
    recipe = tiny("airbench_small", low_resolution=side, translation=0, batch_size=5)
    small, large = assembled(recipe).phases
    (picked, labels), *_ = small.batches.epoch(0)
    (whole, same_labels), *_ = large.batches.epoch(0)
    np.testing.assert_array_equal(labels, same_labels)
    resized = tf.image.resize(whole, (side, side), antialias=True)
    np.testing.assert_allclose(picked, resized, atol=1e-5)


def test_tutorial_has_one_phase_on_the_images_as_they_are() -> None:
    training = assembled(tiny("tutorial", epochs=4))
    (phase,) = training.phases
    assert phase.epochs == range(4)
    assert phase.model is training.model
    assert phase.variables == training.model.trainable_variables
    batches = list(phase.batches.epoch(0))
    assert [len(labels) for _, labels in batches] == [3, 2]
    images = np.concatenate([images for images, _ in batches])
    labels = np.concatenate([labels for _, labels in batches])
    index = [int(np.flatnonzero((image == IMAGES).all((1, 2, 3)))[0]) for image in images]
    assert sorted(index) == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(labels, LABELS[index])


def test_layers_for_cpus_are_used_there_only(airbench_small: Training) -> None:
    on_cpu = assembled(tiny("airbench_small"), on_cpu=True)
    for training, is_used in ((on_cpu, True), (airbench_small, False)):
        kinds = {type(layer).__name__ for layer in training.model.layers}
        assert ("WinogradConv2D" in kinds, "CompiledGelu" in kinds) == (is_used, is_used)


@pytest.mark.parametrize("name", ["tutorial", "airbench_small"])
def test_a_training_goes_on_from_its_state(name: str) -> None:
    """The same step once more, after what it changed was put back."""
    training = assembled(tiny(name))
    state = [variable.numpy() for variable in training.state]
    ends = []
    for _ in range(2):
        for variable, value in zip(training.state, state, strict=True):
            variable.assign(value)
        training.model(IMAGES, training=True)
        apply(training, gradients(training, 0))
        ends.append([variable.numpy() for variable in training.state])
        assert len(ends[-1]) == len(state)
        assert float(training.optimizer.iterations) == 1
    for one, other in zip(*ends, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)
    changed = [not np.array_equal(*pair) for pair in zip(state, ends[0], strict=True)]
    assert sum(changed) > len(changed) / 2


def settings_of(training: Training, kind: str, *names: str) -> list[tuple[object, ...]]:
    """Return settings of each layer of a kind."""
    return [
        tuple(layer.get_config()[name] for name in names)
        for layer in training.model.layers
        if type(layer).__name__.endswith(kind)
    ]


def test_tutorials_network_is_of_the_recipes_numbers() -> None:
    numbers = {"filters": 2, "dense_units": 3, "dropout": 0.1, "dense_dropout": 0.4}
    training = assembled(tiny("tutorial", **numbers))
    assert training.model.name == "tutorial"
    assert settings_of(training, "Conv2D", "filters") == [(2,)] * 3
    assert settings_of(training, "Dense", "units") == [(3,), (10,)]
    assert settings_of(training, "Dropout", "rate") == [(0.1,), (0.1,), (0.1,), (0.4,)]


def test_airbenchs_network_is_of_the_recipes_numbers() -> None:
    """The first layer whitens the first images, here three of five."""
    numbers = {"batch_norm_momentum": 0.7, "batch_norm_epsilon": 0.2, "whitening_epsilon": 0.05}
    training = assembled(tiny("airbench_small", widths=[2, 4, 3], whitening_images=3, **numbers))
    assert training.model.name == "airbench"
    assert settings_of(training, "Conv2D", "filters")[1:] == [(2,), (2,), (4,), (4,), (3,), (3,)]
    found = settings_of(training, "BatchNormalization", "momentum", "epsilon")
    assert found == [(0.7, 0.2)] * 6
    first = IMAGES[:3].astype(np.float64)
    normalized = (first - first.mean((0, 1, 2))) / first.std((0, 1, 2))
    kernels = (
        airbench.whitening_kernel(normalized, 0.05),
        training.model.get_layer("whitening").kernel.numpy(),
    )
    # Filters are the same but for their signs.
    expected, found = (np.abs(kernel) for kernel in kernels)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_images_of_side_9_are_the_smallest(folder: Path, params: Params) -> None:
    """Of side 8, nothing is left for the third block's pooling."""
    assembled(tiny("airbench_small", low_resolution=9))
    params["recipes"]["airbench_small"]["low_resolution"] = 8
    write_params(folder, params)
    with pytest.raises(InputError) as caught:
        read_recipe()
    assert str(caught.value) == (
        "params.yaml: recipes.airbench_small.low_resolution = 8: "
        "should be greater than or equal to 9"
    )
