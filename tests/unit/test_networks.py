"""What holds for every network: images to probabilities, repeatable weights, what is saved."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import networks
from pipeline.common.config import Airbench, ResNet, Tutorial, part_classes
from pipeline.layers.stock import with_stock_layers

import keras

NAMES = [*part_classes("network")]
SIDE, CLASSES = 18, 7
IMAGES = np.random.default_rng(0).random((4, SIDE, SIDE, 3), np.float32)


def small(name: str) -> Any:
    """Return the parameters of a network that is as narrow as can be."""
    network: Any = part_classes("network")[name].model_validate({"name": name})
    return networks.narrowed(network, 0.04)


def build(params: Any, on_cpu: bool = True, images: np.ndarray = IMAGES) -> keras.Model:
    keras.utils.set_random_seed(0)
    return networks.build(params, images, CLASSES, np.random.default_rng(0), on_cpu)


@pytest.mark.parametrize("name", NAMES)
def test_it_standardizes_by_exact_moments(name: str) -> None:
    """If at all. Added up in float32, a million pixels lose a thousandth and more."""
    generator = np.random.default_rng(0)
    images = generator.normal([0.3, 0.5, 0.7], [0.01, 0.02, 0.03], (1000, 32, 32, 3))
    exact = images.astype(np.float32).astype(np.float64)
    for layer in build(small(name), images=images.astype(np.float32)).layers:
        if isinstance(layer, keras.layers.Normalization):
            np.testing.assert_allclose(np.ravel(layer.mean), exact.mean((0, 1, 2)), 1e-6)
            np.testing.assert_allclose(np.ravel(layer.variance), exact.var((0, 1, 2)), 1e-6)


@pytest.mark.parametrize("on_cpu", [True, False])
@pytest.mark.parametrize(("policy", "tolerance"), [("float32", 1e-5), ("mixed_bfloat16", 0.02)])
@pytest.mark.parametrize("name", NAMES)
def test_keras_alone_loads_what_is_saved(
    tmp_path: Path, name: str, policy: str, tolerance: float, on_cpu: bool
) -> None:
    """A copy, for images of one size and in float32."""
    keras.config.set_dtype_policy(policy)
    model, generator = build(small(name), on_cpu), np.random.default_rng(0)
    # So that none is what it starts from.
    for variable in model.weights:
        variable.assign_add(generator.uniform(0.1, 0.3, variable.shape))
    with_stock_layers(model, SIDE).save(tmp_path / "model.keras")
    stock = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert stock.input_shape == (None, SIDE, SIDE, 3)
    assert [layer.name for layer in stock.layers] == [layer.name for layer in model.layers]
    assert {type(layer).__module__.partition(".")[0] for layer in stock.layers} == {"keras"}
    assert stock.name == name
    computing = [layer for layer in stock.layers if not isinstance(layer, keras.layers.InputLayer)]
    assert {layer.dtype_policy.name for layer in computing} == {"float32"}
    np.testing.assert_allclose(stock(IMAGES, training=False), model(IMAGES), atol=tolerance)


def test_narrowed_networks_have_fewer_filters() -> None:
    large: Any = Airbench(name="airbench", widths=[128, 384, 3], block_depth=3)
    expected: Any = Airbench(name="airbench", widths=[32, 96, 1], block_depth=2)
    assert networks.narrowed(large, 0.25) == expected
    large = Tutorial(name="tutorial", filters=[64, 1, 7], dense_units=512, pool_after=[])
    expected = Tutorial(name="tutorial", filters=[32, 1, 4], dense_units=256, pool_after=[])
    assert networks.narrowed(large, 0.5) == expected
    large, expected = (ResNet(name="resnet", depth=32, width=width) for width in (16, 12))
    assert networks.narrowed(large, 0.75) == expected


def test_only_the_whitening_layers_bias_is_soon_done() -> None:
    for name in NAMES:
        params = small(name)
        frozen = {v.path: networks.frozen_after(params, v.path) for v in build(params).weights}
        done = {path: epochs for path, epochs in frozen.items() if epochs is not None}
        assert done == ({"whitening/bias": params.whitening_epochs} if name == "airbench" else {})


@pytest.mark.parametrize("on_cpu", [True, False])
@pytest.mark.parametrize("name", ["airbench", "tutorial"])
def test_layers_are_made_for_the_cpu_or_for_xla(name: str, on_cpu: bool) -> None:
    kinds = {type(layer).__name__ for layer in build(small(name), on_cpu).layers}
    fast = {"FastConv2D", "CompiledGelu"} if name == "airbench" else set()
    assert kinds >= fast | {"MaxPooling2D"} if on_cpu else not kinds & (fast | {"MaxPooling2D"})
