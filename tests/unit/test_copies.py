"""Training images taken from re-encoded copies."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from stages.train import copies
from stages.train.augmentation import Augmentation
from stages.train.batches import Batches
from stages.train.copies import with_copies
from tests.unit.picked import epoch_of
from tests.unit.tiny_recipes import IMAGES, LABELS, assembled, tiny

COUNT, SIDE = 300, 8
QUALITIES = 30, 95


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Return random images, whole grey levels as float32 in [0, 1]."""
    levels = np.random.default_rng(0).integers(0, 256, (COUNT, SIDE, SIDE, 3))
    images = (levels / 255).astype(np.float32)
    images.flags.writeable = False
    return images


@pytest.fixture(scope="module")
def qualities(images: np.ndarray) -> np.ndarray:
    """Return the quality of each copy, found by TensorFlow's encoder; 0 where it is none."""
    both = with_copies(images, 3)
    assert (both.shape, both.dtype) == ((2 * COUNT, SIDE, SIDE, 3), np.float32)
    np.testing.assert_array_equal(both[:COUNT], images)
    found = np.zeros(COUNT, int)
    for number, (image, copy) in enumerate(zip(images, both[COUNT:], strict=True)):
        in_8_bits = np.rint(image * 255).astype(np.uint8)
        for quality in range(QUALITIES[0] - 1, QUALITIES[1] + 2):
            content = tf.io.encode_jpeg(in_8_bits, quality=quality)
            decoded = tf.io.decode_jpeg(content, dct_method="INTEGER_ACCURATE").numpy()
            if np.allclose(decoded / 255, copy, atol=1e-6):
                found[number] = quality
    return found


def test_copies_are_of_random_quality(qualities: np.ndarray) -> None:
    assert (qualities.min(), qualities.max()) == QUALITIES
    assert stats.kstest(qualities, stats.randint(QUALITIES[0], QUALITIES[1] + 1).cdf).pvalue > 0.001


def test_copies_are_made_in_chunks(images: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = with_copies(images, 3)
    monkeypatch.setattr(copies, "CHUNK", 7)
    np.testing.assert_array_equal(with_copies(images, 3), expected)


def test_another_seed_gives_other_copies(images: np.ndarray) -> None:
    one, again, other = (with_copies(images, seed)[COUNT:] for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, again)
    assert (one == other).all((1, 2, 3)).mean() < 0.1


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_share_of_the_images_is_taken_from_copies(images: np.ndarray, share: float) -> None:
    """In each epoch another one, and every image once, with its own label."""
    both = with_copies(images, 0)
    labels = np.arange(COUNT) % 10
    batches = Batches(both, labels.astype(np.uint8), 100, Augmentation(jpeg=share), seed=0)
    assert len(batches) == 3
    taken = []
    for epoch in range(2):
        order = batches.plan(epoch)["index"]
        assert sorted(order) == [*range(COUNT)]
        found, answers = map(np.concatenate, zip(*epoch_of(batches, epoch), strict=True))
        np.testing.assert_array_equal(answers, labels[order])
        from_copies = (found == both[COUNT + order]).all((1, 2, 3))
        np.testing.assert_array_equal(found[~from_copies], images[order[~from_copies]])
        assert stats.binomtest(int(from_copies.sum()), COUNT, share).pvalue > 0.001
        taken.append(from_copies[order.argsort()])
    assert (taken[0] == taken[1]).all() == (share in (0.0, 1.0))


def test_a_recipe_trains_on_copies_of_both_sizes() -> None:
    """Small ones are the copies shrunk, and not copies of what was shrunk."""
    alone = {"jpeg": 1.0, "flip": "none", "translation": 0, "noise": 0.0}
    recipe = tiny("airbench_small", augmentation=alone)
    small, large = (phase.batches for phase in assembled(recipe).phases)
    expected = with_copies(IMAGES, 0)[5:]
    order = large.plan(1)["index"]
    found = np.concatenate([images for images, _ in epoch_of(large, 1)])
    np.testing.assert_array_equal(found, expected[order])
    labels = np.concatenate([labels for _, labels in epoch_of(large, 1)])
    np.testing.assert_array_equal(labels, LABELS[order])
    found = np.concatenate([images for images, _ in epoch_of(small, 1)])
    shrunk = tf.image.resize(expected, (small.side, small.side), antialias=True).numpy()
    np.testing.assert_allclose(found, shrunk[order], atol=1e-5)
