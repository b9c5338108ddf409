"""What the training does in an epoch and leaves behind it, by formulas in NumPy."""

import math
import re
from itertools import islice
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from pipeline.common.config import Recipe
from pipeline.common.shell import UserError
from pipeline.layers.convolution import FastConv2D
from pipeline.layers.stock import with_stock_layers
from pipeline.training.augmentation import plan_epoch
from pipeline.training.averages import update_ema
from pipeline.training.checkpoint import Checkpoint
from pipeline.training.hard_examples import Proxy
from stages import train as stage
from stages.train import VALIDATION_BATCH_SIZE, train
from tests.unit.terminal import make_terminal

import keras
import tensorflow as tf

Captured = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch
Split = tuple[np.ndarray, np.ndarray]
CLASSES, RATE, EPOCHS = 10, 2.0, 3
NONE = np.empty((0, 2, 2, 3), np.float32), np.empty(0, np.uint8)
AIRBENCH = {"name": "airbench", "widths": [2, 3, 4], "whitening_images": 3}


def use_softmax_regression(patch: Patch, *layers: keras.layers.Layer) -> None:
    """Let every network be one that NumPy trains too: on an image's mean colour, from zero."""
    logits = keras.layers.Dense(CLASSES, kernel_initializer="zeros", name="logits")
    before = [keras.Input((None, None, 3)), keras.layers.GlobalAveragePooling2D(), logits]
    network = keras.Sequential([*before, *layers, keras.layers.Softmax()])
    patch.setattr(stage.networks, "build", lambda *_, **__: network)
    patch.setattr(stage, "with_stock_layers", lambda model, side: keras.models.clone_model(model))


@pytest.fixture
def network(monkeypatch: Patch) -> None:
    use_softmax_regression(monkeypatch)


def recipe_of(**changed: Any) -> Recipe:
    """Return a recipe of plain gradient descent, its rate falling to zero, with other values."""
    plain = {
        "network": {"name": "tutorial"},
        "optimizer": {"name": "sgd", "learning_rate": RATE},
        "schedule": {"name": "linear"},
        "batch_size": 3,
        "epochs": EPOCHS,
    }
    return Recipe.model_validate(plain | changed)


def examples(count: int, seed: int, side: int = 2) -> Split:
    generator = np.random.default_rng(seed)
    images = generator.random((count, side, side, 3), np.float32)
    return images, generator.integers(0, CLASSES, count, np.uint8)


def trained(
    recipe: Recipe, training: Split, validation: Split = NONE, seed: int = 0, **more: Any
) -> tuple[list[dict[str, float]], keras.Model]:
    more = {"on_gpu": False} | more
    keras.utils.set_random_seed(0)
    *_, last = train(recipe, training, validation, CLASSES, seed, **more)
    return last


@pytest.mark.usefixtures("network")
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_history_is_that_of_softmax_regression(smoothing: float) -> None:
    """The last batch of 1 image counts a third of one of 3; validation takes three batches."""
    training, validation = examples(10, 0), examples(2 * VALIDATION_BATCH_SIZE + 1, 1)
    recipe = recipe_of(label_smoothing=smoothing)
    history, _ = trained(recipe, training, validation, seed=3)

    weights = np.zeros((4, CLASSES))  # The last row is the bias.

    def measured(images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean gradient, and summed losses and right predictions."""
        inputs = np.pad(images.mean((1, 2)), ((0, 0), (0, 1)), constant_values=1)
        probabilities = softmax(inputs @ weights, axis=1)
        targets = np.eye(CLASSES)[labels] * (1 - smoothing) + smoothing / CLASSES
        loss = -(targets * np.log(probabilities)).sum()
        right = (probabilities.argmax(1) == labels).sum()
        return inputs.T @ (probabilities - targets) / len(labels), np.array([loss, right])

    rates = RATE * (1 - np.arange(4 * EPOCHS) / (4 * EPOCHS)).reshape(EPOCHS, 4)
    for epoch, (row, of_steps) in enumerate(zip(history, rates, strict=True)):
        order = plan_epoch(recipe.augmentation, 10, 2, 3, 3, epoch)["index"]
        total = np.zeros(2)
        for batch, rate in zip(np.split(order, [3, 6, 9]), of_steps, strict=True):
            gradient, sums = measured(training[0][batch], training[1][batch])
            weights -= rate * gradient
            total += sums
        loss, accuracy = total / 10
        val_loss, val_accuracy = measured(*validation)[1] / len(validation[1])
        expected = {"epoch": epoch + 1, "loss": loss, "accuracy": accuracy}
        expected |= {"val_loss": val_loss, "val_accuracy": val_accuracy}
        expected |= {"learning_rate": of_steps[0]}
        assert list(row) == list(expected)
        assert row == pytest.approx(expected, 1e-4)
    assert len({row["accuracy"] for row in history}) > 1


def test_layers_know_whether_they_train(monkeypatch: Patch) -> None:
    """Each graph is made once for a size of batches, whatever the epoch."""
    traced = []

    def say_the_mode(inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        traced.append(training)
        return inputs + 50.0 * tf.one_hot(3 if training else 5, CLASSES)

    use_softmax_regression(monkeypatch, keras.layers.Lambda(say_the_mode))
    data = examples(4, 0)[0], np.array([3, 3, 3, 5], np.uint8)
    history, _ = trained(recipe_of(), data, data)
    assert {(row["accuracy"], row["val_accuracy"]) for row in history} == {(0.75, 0.25)}
    # When the network is built, on batches of 3 and 1, and on the validation images.
    assert len(traced) <= 1 + 3


@pytest.mark.parametrize("mode", [None, True, False])
def test_a_gpus_steps_are_compiled_by_xla(monkeypatch: Patch, mode: bool | None) -> None:
    """So what XLA cannot translate, such as writing a text, is refused in either mode."""

    def write_a_text(inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        if training is not mode:
            return inputs
        text = tf.strings.as_string(inputs)
        return inputs + 0.0 * tf.cast(tf.strings.length(text), tf.float32)

    def losses(on_gpu: bool) -> list[float]:
        use_softmax_regression(monkeypatch, keras.layers.Lambda(write_a_text))
        data = examples(34, 0), examples(4, 1)
        history, _ = trained(recipe_of(epochs=2), *data, on_gpu=on_gpu)
        return [row[key] for row in history for key in ("loss", "val_loss")]

    if mode is None:
        assert losses(on_gpu=True) == pytest.approx(losses(on_gpu=False), 1e-5)
    else:
        with pytest.raises(tf.errors.InvalidArgumentError, match="unsupported operations"):
            losses(on_gpu=True)


EVERYTHING: dict[str, Any] = {
    "optimizer": {"name": "adamw", "global_clipnorm": 1.0},
    "schedule": {"name": "cosine", "warmup_epochs": 1},
    "augmentation": {"flip": "random", "translation": 2, "noise": 0.1, "jpeg_fraction": 0.5},
    "network": {"name": "tutorial", "filters": [2], "pool_after": [1], "dense_units": 3},
    "ema_momentum": 0.5,
    "hard_example_fraction": 0.5,
    "restore_best_weights": True,
    "batch_size": 5,
}


@pytest.mark.usefixtures("without_graphs")
def test_the_seed_draws_the_first_weights() -> None:
    still = {"name": "sgd", "learning_rate": 1e-12}
    recipe = recipe_of(network=AIRBENCH, optimizer=still, epochs=1, batch_size=4)
    one, same, other = (
        trained(recipe, examples(4, 0, side=12), seed=seed)[1].get_layer("logits").kernel.numpy()
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, same)
    assert not np.allclose(one, other, atol=1e-3)


@pytest.mark.usefixtures("folder", "without_graphs")
def test_a_killed_training_ends_in_the_same_state() -> None:
    """With dropout, averages, a proxy and the best weights: every variable, bit for bit."""
    recipe, data = recipe_of(**EVERYTHING), (examples(10, 0, side=8), examples(20, 1, side=8))
    history, model = trained(recipe, *data)
    for finished in (1, 3):
        checkpoint = Checkpoint([finished])
        keras.utils.set_random_seed(0)
        list(islice(train(recipe, *data, CLASSES, 0, False, checkpoint), finished))
        resumed, same = trained(recipe, *data, checkpoint=checkpoint)
        assert resumed == history
        np.testing.assert_equal(same.get_weights(), model.get_weights())


def one_label_an_epoch(monkeypatch: Patch, labels: list[int]) -> Split:
    """Return images that all look the same, of which an epoch trains the one of its number."""
    monkeypatch.setattr(stage, "plan_epoch", lambda *given: {"index": np.array([given[-1]])})
    return np.ones((len(labels), 2, 2, 3), np.float32), np.array(labels, np.uint8)


VALIDATION = np.ones((6, 2, 2, 3), np.float32), np.array([7, 7, 7, 8, 9, 9], np.uint8)
STEEP = {"name": "sgd", "learning_rate": 100.0}


@pytest.mark.usefixtures("network", "without_graphs", "folder")
@pytest.mark.parametrize(
    ("best", "patience", "epochs", "kept"),
    [(False, 0, 5, 8), (True, 0, 5, 7), (False, 1, 3, 9), (True, 2, 4, 7), (False, 3, 5, 8)],
)
def test_best_weights_and_patience(
    monkeypatch: Patch, capsys: Captured, best: bool, patience: int, epochs: int, kept: int
) -> None:
    """The first of two epochs that are as good is the best one."""
    rules = {"patience": patience, "restore_best_weights": best, "schedule": {"name": "constant"}}
    recipe = recipe_of(optimizer=STEEP, epochs=5, batch_size=1, **rules)
    data = one_label_an_epoch(monkeypatch, [8, 7, 9, 7, 8]), VALIDATION
    history, model = trained(recipe, *data, checkpoint=Checkpoint([]))
    right = [6 * row["val_accuracy"] for row in history]
    assert right == pytest.approx([1, 3, 2, 3, 1][:epochs])
    assert ("stopped: " in capsys.readouterr().out) == (epochs < 5)
    # A training that was killed then goes no further.
    resumed, same = trained(recipe, *data, checkpoint=Checkpoint([]))
    assert resumed == history
    for each in (model, same):
        assert int(each(VALIDATION[0][:1]).numpy().argmax()) == kept


@pytest.mark.usefixtures("without_graphs")
def test_small_images_first_and_a_bias_that_is_soon_done(monkeypatch: Patch) -> None:
    """Neither does what is frozen decay."""
    pick = Mock(wraps=stage.pick)
    monkeypatch.setattr(stage, "pick", pick)
    biases = []
    recipe = recipe_of(
        network=AIRBENCH | {"whitening_epochs": 2},
        optimizer={"name": "adamw", "weight_decay": 0.1},
        augmentation={"small_image_size": 9, "small_image_fraction": 0.5},
        hard_example_fraction=0.5,
        epochs=4,
        batch_size=4,
    )
    for _, model in train(recipe, examples(4, 0, side=12), NONE, CLASSES, 0, on_gpu=False):
        biases.append(model.get_layer("whitening").bias.numpy())
    # In the layers that are made for a CPU.
    assert isinstance(model.get_layer("block1a"), FastConv2D)
    assert [call.args[0].shape[1] for call in pick.call_args_list] == [9, 9, 12, 12]
    assert not np.array_equal(biases[0], biases[1])
    np.testing.assert_array_equal(biases[1], biases[3])


def test_averages_keep_their_share_of_each_weight() -> None:
    """Of 0.5 from step 8 on, when (1 + 8) / (10 + 8) is as much; statistics too."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization()])
    ema_model = keras.models.clone_model(model)
    generator = np.random.default_rng(0)
    expected = np.array(ema_model.get_weights())
    for steps in (1, 2, 7, 8, 9, 1000):
        weights = generator.normal(size=expected.shape).astype(np.float32)
        model.set_weights([*weights])
        update_ema(ema_model, model, 0.5, tf.constant(steps))
        kept = min(0.5, (1 + steps) / (10 + steps))
        expected = kept * expected + (1 - kept) * weights
        np.testing.assert_allclose(ema_model.get_weights(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("network", "without_graphs")
def test_the_average_is_what_is_validated_and_kept(monkeypatch: Patch) -> None:
    """After one step of 2 / 11, the network says 8; its average still knows the epoch before."""
    recipe = recipe_of(optimizer=STEEP, epochs=2, batch_size=1, ema_momentum=0.9)
    training = one_label_an_epoch(monkeypatch, [7, 8])
    history, model = trained(recipe, training, VALIDATION)
    bias, average = np.zeros(CLASSES), np.zeros(CLASSES)
    for kept, rate, label in ((2 / 11, 100, 7), (3 / 12, 75, 8)):
        # Pictures of ones move the bias and each of three rows of the kernel alike.
        bias += rate * (np.eye(CLASSES)[label] - softmax(4 * bias))
        average += (1 - kept) * (bias - average)
    np.testing.assert_allclose(model.get_layer("logits").bias.numpy(), average, rtol=1e-4)
    losses = -log_softmax(4 * average)[VALIDATION[1]]
    assert history[-1]["val_loss"] == pytest.approx(losses.mean(), 1e-4)


@pytest.mark.usefixtures("without_graphs")
def test_the_hardest_images_of_a_batch_are_trained() -> None:
    """Those with the highest losses of the proxy, in the order of the batch; it learns by them."""
    network = {"name": "tutorial", "filters": [4], "pool_after": [1], "dense_units": 3}
    recipe = recipe_of(
        network=network | {"dropout": 0.0, "dense_dropout": 0.0},
        hard_example_fraction=0.4,
        proxy_width=0.5,
    )
    images, labels = examples(5, 0, side=8)
    # With some others, the losses are all alike.
    keras.utils.set_random_seed(4)
    proxy = Proxy(recipe, images, CLASSES, 0, steps=3, on_cpu=True)
    assert proxy.model.layers[0].filters == 2
    one_hot = tf.one_hot(labels, CLASSES)
    loss_of = keras.losses.CategoricalCrossentropy()
    # Normalized by the batch, as in training.
    answers = proxy.model(images, training=True)
    hardest = np.sort(loss_of.call(one_hot, answers).numpy().argsort()[-2:])
    before = {variable.path: variable.numpy() for variable in proxy.model.variables}
    first, *_ = before
    picked, picked_labels = proxy.train_on_hardest(tf.constant(images), one_hot, loss_of, (first,))
    np.testing.assert_array_equal(picked, images[hardest])
    np.testing.assert_array_equal(picked_labels, one_hot.numpy()[hardest])
    changed = [v.path for v in proxy.model.variables if (v.numpy() != before[v.path]).any()]
    assert first not in changed
    assert [path for path in changed if "moving" in path]
    assert [path for path in changed if "moving" not in path]


def test_what_has_only_validation_images_without_any() -> None:
    """The history's loss is over all images, as if the hard ones stood for the others."""
    recipe = recipe_of(**EVERYTHING | {"augmentation": {}, "restore_best_weights": False})
    history, model = trained(recipe, examples(10, 0, side=8))
    assert [list(row) for row in history] == [["epoch", "loss", "accuracy", "learning_rate"]] * 3
    assert all(0 <= row["accuracy"] <= 1 and 1 < row["loss"] < 20 for row in history)
    assert with_stock_layers(model, 8).output_shape == (None, CLASSES)


@pytest.mark.usefixtures("network", "without_graphs")
@pytest.mark.parametrize(("where", "bad"), [(0, math.nan), (1, math.inf)])
def test_a_loss_that_is_not_finite_ends_the_training(where: int, bad: float) -> None:
    data = examples(4, 0), examples(4, 1)
    data[where][0][:] = bad
    with pytest.raises(UserError, match="epoch 1/3.*not finite.*learning_rate") as caught:
        trained(recipe_of(batch_size=2), *data)
    assert caught.value.exit_code == 1


@pytest.mark.usefixtures("network", "without_graphs")
def test_a_line_an_epoch_and_a_bar_of_the_whole(monkeypatch: Patch, capsys: Captured) -> None:
    """An epoch at twice the side is expected to take four times as long."""
    clock = iter(range(0, 1000, 5))
    monkeypatch.setattr(stage.time, "monotonic", lambda: next(clock))
    ticks = iter(range(10_000))
    monkeypatch.setattr("tqdm.std.time", lambda: next(ticks))
    terminal = make_terminal(monkeypatch)
    recipe = recipe_of(
        network={"name": "resnet"},
        augmentation={"small_image_size": 1, "small_image_fraction": 0.5},
        batch_size=5,
        epochs=2,
    )
    trained(recipe, examples(10, 0), examples(4, 1))
    *_, head, first, second = capsys.readouterr().out.splitlines()
    columns = ["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "seconds", "left"]
    assert head.split() == columns
    number = r"\d\.\d{4}"
    assert re.fullmatch(rf" +1/2( +{number}){{4}} +5.0 +01:00", first)
    assert re.fullmatch(rf" +2/2( +{number}){{4}} +5.0", second)
    assert len(head) == len(first) <= 80
    shown = re.findall(r"epoch (\d)/2: +(\d+)%", terminal.getvalue())
    states = [(1, 0), (1, 10), (1, 20), (2, 20), (2, 60), (2, 100)]
    assert [*dict.fromkeys((int(epoch), int(percent)) for epoch, percent in shown)] == states
