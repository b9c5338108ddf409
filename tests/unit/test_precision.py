"""What stays float32 where networks compute in bfloat16."""

import numpy as np
import pytest

from stages import device as device  # First, since TensorFlow reads what it sets.
from tests.unit.tiny_recipes import tiny

import keras  # isort: skip

IMAGES = np.random.default_rng(0).random((20, 32, 32, 3), np.float32)
# By recipe, the layers that compute in float32: those that standardize and whiten images, whose
# small differences count, statistics, logits and probabilities.
FLOAT32 = {
    "airbench_small": ["normalization", "whitening", "logits", "probabilities"],
    "resnet20": ["normalization", "logits", "probabilities"],
    "tutorial": ["Batch_norm00", "Batch_norm01", "Batch_norm02", "Batch_norm03", "Dense01"],
}


@pytest.fixture
def bfloat16() -> None:
    """Let layers compute in bfloat16, their names be counted from the first."""
    keras.utils.clear_session()
    keras.config.set_dtype_policy("mixed_bfloat16")


@pytest.mark.parametrize("on_cpu", [True, False])
@pytest.mark.parametrize("name", FLOAT32)
def test_what_stays_float32(bfloat16: None, name: str, on_cpu: bool) -> None:
    model = tiny(name).network.build(IMAGES, np.random.default_rng(0), on_cpu)
    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    exact = [layer.name for layer in layers if layer.compute_dtype == "float32"]
    assert exact == FLOAT32[name]
    assert {layer.variable_dtype for layer in layers} == {"float32"}
    assert model(IMAGES).dtype == "float32"
