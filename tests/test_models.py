"""The file that a model is saved to, read by plain Keras."""

import sys
from pathlib import Path

import numpy as np
import pytest

from stages import device as device  # First, since TensorFlow reads what it sets.
from stages.models.airbench import Airbench
from stages.models.fused_batch_normalization import FusedBatchNormalization
from stages.models.stock_layers import with_stock_layers
from stages.train.saving import save_model
from tests.project import run

import keras  # isort: skip


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).random((200, 32, 32, 3), np.float32)


@pytest.fixture
def model(images: np.ndarray) -> keras.Model:
    """Return a small airbench network, as it is before training."""
    return Airbench(name="airbench", widths=[24, 96, 96]).build(
        images, np.random.default_rng(0), True
    )


def test_saved_model_is_the_same_in_plain_keras(
    tmp_path: Path, images: np.ndarray, model: keras.Model
) -> None:
    for layer in model.layers:
        if isinstance(layer, FusedBatchNormalization):
            layer.moving_mean.assign(np.full(layer.moving_mean.shape, 0.1))
    save_model(with_stock_layers(model), tmp_path / "model.keras")
    np.save(tmp_path / "images.npy", images, allow_pickle=False)
    script = (
        "import keras, numpy as np;"
        "model = keras.saving.load_model('model.keras', safe_mode=True);"
        "np.save('probabilities.npy', model.predict(np.load('images.npy'), verbose=0))"
    )
    result = run([sys.executable, "-c", script], tmp_path, PYTHONPATH="")
    assert result.returncode == 0, result.stderr
    probabilities = np.load(tmp_path / "probabilities.npy", allow_pickle=False)
    np.testing.assert_allclose(probabilities, model.predict(images, verbose=0), atol=1e-5)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)
