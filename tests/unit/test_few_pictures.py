"""What helps with few or unequal pictures: another model's weights, weights of classes, mixup."""

from pathlib import Path

import numpy as np
import pytest

from pipeline import networks
from pipeline.common.config import Augmentation, Recipe, ResNet
from pipeline.common.shell import UserError
from pipeline.layers.stock import with_stock_layers
from pipeline.training.augmentation import in_chunks, pick, plan_epoch
from pipeline.training.losses import build_loss
from pipeline.training.start import take_weights
from tests.project import default_params

import keras

Captured = pytest.CaptureFixture[str]
SIDE = 12
GENERATOR = np.random.default_rng(0)
IMAGES = GENERATOR.random((7, SIDE, SIDE, 3), np.float32)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
def test_balanced_classes_weigh_the_same(label_smoothing: float) -> None:
    """As Keras's `class_weight` does: each image's loss times n / (classes * images of its own)."""
    labels = np.array([0] * 6 + [1] * 3 + [3])
    probabilities = GENERATOR.dirichlet(np.ones(4), 10).astype(np.float32)
    one_hot = np.eye(4, dtype=np.float32)[labels]
    changed = {"class_weights": "balanced", "label_smoothing": label_smoothing}
    recipe = Recipe.model_validate(default_params()["recipes"]["resnet20"] | changed)
    loss = build_loss(recipe, labels, 4)
    # Class 2 has no image and does not count.
    weights = np.array([10 / 3 / 6, 10 / 3 / 3, np.nan, 10 / 3 / 1])
    target = one_hot * (1 - label_smoothing) + label_smoothing / 4
    expected = weights[labels] * -(target * np.log(probabilities)).sum(axis=1)
    np.testing.assert_allclose(loss.call(one_hot, probabilities), expected, rtol=1e-5)
    np.testing.assert_allclose(loss(one_hot, probabilities), expected.mean(), rtol=1e-5)


def test_mixup_mixes_images_and_labels_of_a_batch_alike() -> None:
    plan = plan_epoch(Augmentation(mixup=0.4), 7, SIDE, 3, seed=1, epoch=2)
    one_hot = np.eye(7, dtype=np.float32)
    for chunk in in_chunks(plan, 3, 1):
        batch = {name: rows[0] for name, rows in chunk.items()}
        images, labels = map(np.asarray, pick(IMAGES, one_hot, batch))
        # Each image is of a class of its own, so its label says how it was mixed.
        np.testing.assert_allclose(labels.sum(axis=1), 1, rtol=1e-6)
        np.testing.assert_allclose(images, np.tensordot(labels, IMAGES, 1), atol=1e-6)
        assert set(np.flatnonzero(labels.any(axis=0))) == set(batch["index"])
        own = labels[np.arange(len(labels)), batch["index"]]
        assert (own >= batch["share"].astype(np.float32) - 1e-6).all()


def test_shares_are_of_the_beta_distribution() -> None:
    share = plan_epoch(Augmentation(mixup=0.4), 20_000, SIDE, 500, seed=0, epoch=0)["share"]
    assert share.mean() == pytest.approx(1 / 2, abs=0.01)
    # The variance of Beta(a, a); five standard errors.
    assert share.var() == pytest.approx(1 / (4 * (2 * 0.4 + 1)), abs=0.004)


def network(classes: int, seed: int) -> keras.Model:
    keras.utils.clear_session()  # As at a program's start, which names layers from 1.
    keras.utils.set_random_seed(seed)
    params = ResNet(name="resnet", depth=8, width=4)
    return networks.build(params, IMAGES, classes, np.random.default_rng(seed), on_cpu=True)


@pytest.mark.parametrize("classes", [3, 5])
def test_all_weights_that_fit_are_taken(folder: Path, classes: int, capsys: Captured) -> None:
    before = with_stock_layers(network(3, 0), SIDE)
    for weight in before.weights:
        weight.assign(GENERATOR.normal(size=weight.shape))
    before.save("before.keras")
    model = network(classes, 1)
    fitting = len(model.weights) if classes == 3 else -2
    expected = before.get_weights()[:fitting] + model.get_weights()[fitting:]
    take_weights(model, Path("before.keras"))
    np.testing.assert_equal(model.get_weights(), expected)
    new = "none" if classes == 3 else "logits/kernel, logits/bias"
    assert capsys.readouterr().out.endswith(f"new: {new}\n")


def test_a_model_of_no_use_is_refused(folder: Path) -> None:
    Path("none.keras").write_bytes(b"PK")
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="other")]).save("other.keras")
    for name, why in (("none", "not a readable"), ("other", "none of its weights")):
        with pytest.raises(UserError, match=f"start_from = {name}.keras: {why}"):
            take_weights(network(3, 0), Path(f"{name}.keras"))
