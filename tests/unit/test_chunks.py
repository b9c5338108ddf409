"""Several steps a call do what as many calls of one step do, on batches of the same images."""

import io
import re
import sys
from itertools import count

import numpy as np
import pytest

from stages import device as device  # First, since TensorFlow reads what it sets.
from stages.train import loop
from stages.train.augmentation import Augmentation
from stages.train.batches import Batches
from stages.train.loop import train
from stages.train.recipes import assemble
from tests.unit.tiny_recipes import tiny

import keras  # isort: skip

COUNT = 11
IMAGES = np.random.default_rng(1).random((COUNT, 32, 32, 3), np.float32)
LABELS = (np.arange(COUNT) % 10).astype(np.uint8)


def batches(images: int, batch_size: int) -> Batches:
    arrays = np.zeros((images, 4, 4, 3), np.float32), np.zeros(images, np.uint8)
    return Batches(*arrays, batch_size, Augmentation(translation=1), seed=0)


# Images, batch size and steps a call; then the batches of each chunk and their size.
CHUNKS = [
    (12, 3, 2, [(2, 3), (2, 3)]),
    (12, 3, 3, [(3, 3), (1, 3)]),
    (13, 3, 2, [(2, 3), (2, 3), (1, 1)]),
    (11, 3, 2, [(2, 3), (1, 3), (1, 2)]),
    (12, 3, 9, [(4, 3)]),
    (2, 3, 9, [(1, 2)]),
    (3, 3, 1, [(1, 3)]),
    (4, 1, 3, [(3, 1), (1, 1)]),
]


@pytest.mark.parametrize(("images", "batch_size", "steps", "expected"), CHUNKS)
def test_a_chunk_holds_whole_batches_or_the_smaller_last_one(
    images: int, batch_size: int, steps: int, expected: list[tuple[int, int]]
) -> None:
    chosen = batches(images, batch_size)
    plan = chosen.plan(0)
    chunks = [*chosen.chunks(plan, steps)]
    assert [chunk["index"].shape for chunk in chunks] == expected
    for name, rows in plan.items():
        assert all(chunk[name].shape[2:] == rows.shape[1:] for chunk in chunks)
        together = np.concatenate([chunk[name].reshape(-1, *rows.shape[1:]) for chunk in chunks])
        np.testing.assert_array_equal(together, rows)


def test_images_in_order() -> None:
    assert batches(5, 3).in_order()["index"].tolist() == [0, 1, 2, 3, 4]


# By steps a call, what the bar shows of four steps, the last one of a smaller batch.
BARS = {1: [*range(5)], 2: [0, 2, 3, 4]}


@pytest.mark.slow
def test_steps_a_call_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does the progress bar stand still meanwhile, which leaves no chunk out."""
    recipe = tiny(
        "tutorial", optimizer={"name": "muon"}, batch_size=3, ema_momentum=0.5, keep="best"
    )
    found = []
    for steps_per_call, bar in BARS.items():
        keras.utils.set_random_seed(0)
        training = assemble(recipe, IMAGES, LABELS, seed=0, on_cpu=False)
        monkeypatch.setattr(loop, "CPU_STEPS_PER_CALL", steps_per_call)
        screen = io.StringIO()
        screen.isatty = lambda: True  # type: ignore[method-assign]
        monkeypatch.setattr(sys, "stderr", screen)
        monkeypatch.setattr("tqdm.std.time", count().__next__)
        rows = [*train(training, IMAGES[:3], LABELS[:3])]
        found.append((rows, [variable.numpy() for variable in training.state]))
        shown = re.findall(r"epoch 2/2: .*?(\d+)/4 ", screen.getvalue())
        assert [*map(int, shown)] == bar
    (rows, state), *others = found
    assert len(rows) == 2
    for other_rows, other_state in others:
        assert other_rows == rows
        np.testing.assert_equal(other_state, state)
