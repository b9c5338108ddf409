"""What a recipe's parameters do, by the formulas of its method."""

import numpy as np
import pytest

from stages import device as device  # First, since TensorFlow reads what it sets.
from stages.models import airbench
from stages.train.recipes import Training
from tests.unit.tiny_recipes import IMAGES, assembled, gradients, stepped, tiny


@pytest.fixture(scope="module")
def airbench_small() -> Training:
    """Return what the recipe trains, which is not to be trained."""
    return assembled(tiny("airbench_small"))


@pytest.mark.parametrize(("name", "smoothing"), [("tutorial", 0.0), ("airbench_small", 0.3)])
def test_labels_are_smoothed(name: str, smoothing: float) -> None:
    """Cross-entropy with labels of 1 - smoothing, and smoothing spread over ten classes."""
    recipe = tiny(name, **({"label_smoothing": smoothing} if smoothing else {}))
    probabilities = np.random.default_rng(0).dirichlet(np.ones(10), 3)
    labels = np.eye(10)[[2, 7, 5]]
    target = labels * (1 - smoothing) + smoothing / 10
    expected = -(target * np.log(probabilities)).sum(1).mean()
    assert float(assembled(recipe).loss(labels, probabilities)) == pytest.approx(expected, 1e-5)


def test_layers_for_cpus_are_used_there_only(airbench_small: Training) -> None:
    on_cpu = assembled(tiny("airbench_small"), on_cpu=True)
    for training, is_used in ((on_cpu, True), (airbench_small, False)):
        kinds = {type(layer).__name__ for layer in training.model.layers}
        assert ("FastConv2D" in kinds, "CompiledGelu" in kinds) == (is_used, is_used)


@pytest.mark.parametrize("name", ["tutorial", "airbench_small", "resnet20"])
def test_a_training_goes_on_from_its_state(name: str) -> None:
    """The same step once more, after what it changed was put back."""
    training = assembled(tiny(name))
    state = [variable.numpy() for variable in training.state]
    ends = []
    for _ in range(2):
        for variable, value in zip(training.state, state, strict=True):
            variable.assign(value)
        training.model(IMAGES, training=True)
        stepped(training, gradients(training, 0))
        ends.append([variable.numpy() for variable in training.state])
        assert len(ends[-1]) == len(state)
        assert float(training.optimizer.iterations) == 1
    for one, other in zip(*ends, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)
    changed = [not np.array_equal(*pair) for pair in zip(state, ends[0], strict=True)]
    assert sum(changed) > len(changed) / 2


def test_averages_and_best_weights_belong_to_the_state() -> None:
    """They start as the network's weights, in networks of Keras's own layers."""
    plain = assembled(tiny("airbench_small"), on_cpu=True)
    training = assembled(tiny("airbench_small", ema_momentum=0.5, keep="best"), on_cpu=True)
    assert training.averaged
    assert training.best
    for copy in (training.averaged, training.best):
        assert not {id(v) for v in copy.weights} & {id(v) for v in training.model.weights}
        np.testing.assert_equal(copy.get_weights(), training.model.get_weights())
        assert "FastConv2D" not in {type(layer).__name__ for layer in copy.layers}
    weights = len(plain.model.weights)
    assert len(training.state) == len(plain.state) + 2 * weights
    assert len({id(variable) for variable in training.state}) == len(training.state)
    # That there are copies changes nothing of what is trained.
    for one, other in zip(plain.state, training.state, strict=False):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def settings_of(training: Training, kind: str, *names: str) -> list[tuple[object, ...]]:
    """Return settings of each layer of a kind."""
    return [
        tuple(layer.get_config()[name] for name in names)
        for layer in training.model.layers
        if type(layer).__name__.endswith(kind)
    ]


def test_tutorials_network_is_of_the_recipes_numbers() -> None:
    numbers = {"filters": [2, 4], "dense_units": 3, "dropout": 0.1, "dense_dropout": 0.4}
    training = assembled(tiny("tutorial", network=numbers))
    assert training.model.name == "tutorial"
    assert settings_of(training, "Conv2D", "filters") == [(2,), (4,)]
    assert settings_of(training, "Dense", "units") == [(3,), (10,)]
    assert settings_of(training, "Dropout", "rate") == [(0.1,), (0.1,), (0.4,)]


def test_airbenchs_network_is_of_the_recipes_numbers() -> None:
    """The first layer whitens the first images, here three of five."""
    numbers = {
        "widths": [2, 4, 3],
        "whitening_images": 3,
        "whitening_epsilon": 0.05,
        "batch_norm_momentum": 0.7,
        "batch_norm_epsilon": 0.2,
    }
    training = assembled(tiny("airbench_small", network=numbers))
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
    computed, built = (np.abs(kernel) for kernel in kernels)
    np.testing.assert_allclose(built, computed, rtol=1e-3, atol=1e-4)


def test_resnets_network_is_of_the_recipes_numbers() -> None:
    """Of two blocks of two layers in each third, a first layer and a last one."""
    training = assembled(tiny("resnet20", network={"depth": 14, "width": 3}))
    assert training.model.name == "resnet"
    filters = [(3,)] * 5 + [(6,)] * 4 + [(12,)] * 4
    assert settings_of(training, "Conv2D", "filters") == filters
