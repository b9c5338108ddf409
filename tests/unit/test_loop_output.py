"""What the training loop shows: a line after each epoch, a bar during it, and why it ends."""

import dataclasses
import io
import math
import re
import sys
import time
from itertools import count

import numpy as np
import pytest

from stages import device as device  # First, since TensorFlow reads what it sets.
from stages.errors import TrainingError
from stages.train.augmentation import Augmentation, Plan
from stages.train.batches import Batches
from stages.train.loop import train
from stages.train.phases import Phase
from stages.train.recipes import Training
from tests.unit.eager import without_graphs as without_graphs

import keras  # isort: skip
import tensorflow as tf  # isort: skip

pytestmark = pytest.mark.usefixtures("without_graphs")

LABELS = np.array([0, 1, 2, 3], np.uint8)
NO_IMAGES = np.empty((0, 1, 1, 3), np.float32)


class Given(Batches):
    """The pixels of the epoch, all alike, in two batches; it lasts 1.26 s by the clock."""

    def __init__(self, pixels: list[float], clock: list[float]) -> None:
        """Take a pixel for each epoch."""
        images = np.repeat(np.array(pixels, np.float32), 4 * 3).reshape(-1, 1, 1, 3)
        super().__init__(images, np.tile(LABELS, len(pixels)), 2, Augmentation(), 0)
        self.clock = clock

    def __len__(self) -> int:
        """Return the number of steps in an epoch."""
        return 2

    def plan(self, epoch: int) -> Plan:
        """Return the plan of the epoch's two batches."""
        self.clock[0] += 1.26
        return {"index": 4 * epoch + np.arange(4)}


def mean_answer(labels: tf.Tensor, answers: tf.Tensor) -> tf.Tensor:
    """Return a loss that is what the images hold."""
    return tf.reduce_mean(answers)


class Slow(keras.layers.Layer):
    """Returns what it is given, after 100 s by the clock where it is not training."""

    def __init__(self, clock: list[float]) -> None:
        """Take what holds the time."""
        super().__init__()
        self.clock = clock

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Return the inputs."""
        if training is False:
            self.clock[0] += 100
        return inputs


def training_on(*pixels: float, clock: list[float] | None = None) -> Training:
    """Return a training whose network answers each image with its pixel, and class 0."""
    clock = clock or [0]
    layers = [keras.layers.Flatten(), keras.layers.Dense(10), Slow(clock)]
    model = keras.Sequential([keras.Input((1, 1, 3)), *layers])
    kernel, bias = model.trainable_variables
    kernel.assign(np.full((3, 10), 1 / 3))
    # What is not finite would spoil the kernel.
    phases = [Phase(range(len(pixels)), model, [bias], Given([*pixels], clock))]
    return Training(model, keras.optimizers.SGD(1e-9), mean_answer, phases)


class Screen(io.StringIO):
    """A terminal that notes what was shown when."""

    def __init__(self) -> None:
        """Show nothing yet."""
        super().__init__()
        self.shown: list[str] = []

    def flush(self) -> None:
        """Show what was written."""
        self.shown.append(self.getvalue())

    def isatty(self) -> bool:
        """Be a terminal."""
        return True


def test_an_epochs_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The seconds are those of training, without validation."""
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    images = np.full((3, 1, 1, 3), 0.125, np.float32)
    rows = list(train(training_on(2.5, 0.5, clock=clock), images, np.array([0, 0, 1], np.uint8)))
    assert capsys.readouterr() == (
        "epoch 1/2  loss 2.5000  accuracy 0.2500  val_loss 0.1250  val_accuracy 0.6667  1.3 s\n"
        "epoch 2/2  loss 0.5000  accuracy 0.2500  val_loss 0.1250  val_accuracy 0.6667  1.3 s\n",
        "",
    )
    assert [row["loss"] for row in rows] == pytest.approx([2.5, 0.5])


def test_an_epochs_line_without_validation(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 5.0)
    list(train(training_on(2.5), NO_IMAGES, LABELS[:0]))
    assert capsys.readouterr().out == "epoch 1/1  loss 2.5000  accuracy 0.2500  0.0 s\n"


def test_an_epochs_line_is_shown_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    rows = train(training_on(2.5, 0.5), NO_IMAGES, LABELS[:0])
    for epoch in (1, 2):
        next(rows)
        assert screen.shown[-1].count("\n") == epoch


def test_the_end_of_an_early_stop_is_shown_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    training = dataclasses.replace(training_on(2.5, 2.5, 2.5, 2.5), patience=1)
    images = np.full((3, 1, 1, 3), 0.125, np.float32)
    assert len(list(train(training, images, np.array([0, 0, 1], np.uint8)))) == 2
    *_, last = screen.shown[-1].splitlines()
    assert last == "stopped: no better val_accuracy in 1 epochs"


BAD = [math.nan, math.inf, -math.inf]


@pytest.mark.parametrize("bad", BAD)
def test_a_loss_that_is_not_finite_ends_the_training(
    bad: float, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = train(training_on(1.0, bad, 1.0), NO_IMAGES, LABELS[:0])
    assert next(rows)["loss"] == pytest.approx(1)
    with pytest.raises(TrainingError) as caught:
        next(rows)
    assert str(caught.value) == "epoch 2/3: the loss is not finite; try a lower learning_rate"
    *_, line = capsys.readouterr().out.splitlines()
    assert line.startswith(f"epoch 2/3  loss {bad:.4f}  accuracy ")


@pytest.mark.parametrize("bad", BAD)
def test_a_validation_loss_that_is_not_finite_ends_the_training(
    bad: float, capsys: pytest.CaptureFixture[str]
) -> None:
    images = np.full((1, 1, 1, 3), bad, np.float32)
    rows = train(training_on(1.0, 1.0), images, LABELS[:1])
    with pytest.raises(TrainingError) as caught:
        next(rows)
    assert str(caught.value) == "epoch 1/2: the loss is not finite; try a lower learning_rate"
    assert f"loss 1.0000  accuracy 0.2500  val_loss {bad:.4f}  " in capsys.readouterr().out


def test_a_bar_counts_the_steps_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """It names the epoch, and leaves no trace."""
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    # A second passes whenever the bar looks, so that it shows each step.
    monkeypatch.setattr("tqdm.std.time", count().__next__)
    list(train(training_on(1.0, 1.0), NO_IMAGES, LABELS[:0]))
    shown = re.findall(r"(epoch \d/\d): .*?(\d+)/(\d+) .*?[\d?/](step)[\]/]", screen.getvalue())
    assert shown == [(f"epoch {epoch}/2", done, "2", "step") for epoch in (1, 2) for done in "012"]
    assert "\n" not in screen.getvalue()
    assert screen.getvalue().rpartition("step")[2].endswith("\r")
