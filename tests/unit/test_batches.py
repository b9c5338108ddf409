"""Which images a batch holds, and how they are flipped, translated and shrunk."""

import numpy as np
import pytest
from scipy import stats

from stages import device as device  # First, since TensorFlow reads what it sets.
from stages.train.augmentation import Augmentation
from stages.train.batches import Batches
from stages.train.pixels import shrunk
from tests.unit.picked import epoch_of

import tensorflow as tf  # isort: skip

Numbers = np.ndarray
PLAIN = Augmentation()


def alternating(translation: int) -> Augmentation:
    return Augmentation(flip="alternating", translation=translation)


def test_an_epoch_gives_every_image_once_in_another_order_each_epoch() -> None:
    labels = np.arange(50, dtype=np.uint8)
    images = np.repeat(labels, 3072).reshape(50, 32, 32, 3).astype(np.float32)
    batches = Batches(images, labels, 16, PLAIN, seed=0)
    epochs = [list(epoch_of(batches, number)) for number in (0, 1, 0)]
    assert [len(batch) for _, batch in epochs[0]] == [16, 16, 16, 2]
    assert len(batches) == 4
    orders = [np.concatenate([batch for _, batch in epoch]).tolist() for epoch in epochs]
    assert sorted(orders[0]) == sorted(orders[1]) == labels.tolist()
    assert orders[0] != orders[1]
    assert orders[0] == orders[2]
    for picked, batch in epochs[0]:
        np.testing.assert_array_equal(picked[:, 0, 0, 0], batch)


@pytest.mark.parametrize(
    ("images", "batch_size", "sizes"),
    [(6, 3, [3, 3]), (7, 3, [3, 3, 1]), (2, 3, [2]), (3, 1, [1, 1, 1])],
)
def test_only_the_last_batch_is_smaller(images: int, batch_size: int, sizes: list[int]) -> None:
    arrays = np.zeros((images, 4, 4, 3), np.float32), np.zeros(images, np.uint8)
    for batches in (
        Batches(*arrays, batch_size, PLAIN, seed=0),
        Batches(*arrays, batch_size, alternating(1), seed=0),
    ):
        assert len(batches) == len(sizes)
        assert [picked.shape for picked, _ in epoch_of(batches, 0)] == [(n, 4, 4, 3) for n in sizes]
        assert [len(labels) for _, labels in epoch_of(batches, 0)] == sizes


def test_seed_and_epoch_alone_decide_the_order() -> None:
    arrays = np.zeros((40, 1, 1, 3), np.float32), np.arange(40, dtype=np.uint8)
    orders = {
        (kind, seed, epoch): np.concatenate(
            [index for _, index in epoch_of(batches, epoch)]
        ).tolist()
        for seed in (0, 1)
        for kind, batches in (
            ("plain", Batches(*arrays, 16, PLAIN, seed)),
            # Another batch size, another translation.
            ("augmented", Batches(*arrays, 7, alternating(0), seed)),
        )
        for epoch in (3, 0, 1)
    }
    for seed in (0, 1):
        for epoch in (0, 1, 3):
            assert orders["plain", seed, epoch] == orders["augmented", seed, epoch]
    assert len({tuple(order) for order in orders.values()}) == 6


def test_flip_alternates_and_half_start_flipped() -> None:
    """In four epochs, with another half at another seed."""
    labels = np.arange(200, dtype=np.uint8)
    images = np.random.default_rng(0).random((200, 9, 9, 3), np.float32)
    sides = np.empty((2, 4, 200), bool)
    for seed in range(2):
        batches = Batches(images, labels, 64, alternating(0), seed)
        for epoch in range(4):
            for picked, index in epoch_of(batches, epoch):
                flipped = (picked == images[index][:, :, ::-1]).all((1, 2, 3))
                assert (flipped | (picked == images[index]).all((1, 2, 3))).all()
                sides[seed, epoch, index] = flipped
        assert 60 < sides[seed, 0].sum() < 140
        np.testing.assert_array_equal(sides[seed, 0], ~sides[seed, 1])
        np.testing.assert_array_equal(sides[seed, :2], sides[seed, 2:])
    assert 60 < (sides[0, 0] != sides[1, 0]).sum() < 140


def test_translation_moves_by_up_to_its_pixels() -> None:
    labels = np.zeros(400, np.uint8)
    row, column = np.mgrid[:32, :32].astype(np.float32)
    image = np.stack([row, column, column], axis=-1)
    batches = Batches(np.repeat(image[None], 400, 0), labels, 400, alternating(2), seed=0)
    (picked, _), *_ = epoch_of(batches, 0)
    centre = picked[:, 16, 16]
    mirrored = picked[:, 16, 17, 1] < picked[:, 16, 16, 1]
    moved_down = centre[:, 0] - 16
    moved_right = np.where(mirrored, 15, 16) - centre[:, 1]
    for moved in (moved_down, moved_right):
        assert set(moved) == {-2, -1, 0, 1, 2}
    # Beyond the border, the image is mirrored, its outermost row not repeated.
    far = picked[(moved_down == 2)][0, :, 16, 0]
    assert far.tolist() == [*range(2, 32), 30, 29]


def test_every_image_is_cut_from_its_mirrored_surroundings() -> None:
    """One of the ways to cut it is found, at each image, with its label beside it."""
    labels = np.arange(30, dtype=np.uint8)
    images = np.random.default_rng(0).random((30, 6, 6, 3), np.float32)
    for epoch in range(2):
        for picked, index in epoch_of(Batches(images, labels, 8, alternating(2), seed=0), epoch):
            assert picked.dtype == np.float32
            for found, original in zip(picked, images[index], strict=True):
                padded = np.pad(original, ((2, 2), (2, 2), (0, 0)), mode="reflect")
                ways = [
                    np.array_equal(found, cut) or np.array_equal(found, cut[:, ::-1])
                    for top in range(5)
                    for left in range(5)
                    for cut in [padded[top : top + 6, left : left + 6]]
                ]
                assert sum(ways) == 1


SIDE = 9


def translated(count: int, translation: int, epoch: int, seed: int = 0) -> tuple[Numbers, ...]:
    """Return for each image, by its label, how far it moved down and right, and if it is flipped.

    Each pixel of an image holds its own row and column, and the middle stays inside.
    """
    row, column = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    images = np.repeat(np.stack([row, column, column], axis=-1)[None], count, axis=0)
    batches = Batches(images, np.arange(count), 500, alternating(translation), seed)
    down, right, flipped = np.empty(count, int), np.empty(count, int), np.empty(count, bool)
    middle = SIDE // 2
    for picked, index in epoch_of(batches, epoch):
        down[index] = middle - picked[:, middle, middle, 0]
        right[index] = middle - picked[:, middle, middle, 1]
        flipped[index] = picked[:, middle, middle + 1, 1] < picked[:, middle, middle, 1]
    return down, right, flipped


@pytest.mark.parametrize("epoch", [0, 1])
@pytest.mark.parametrize("translation", [0, 1, 2])
def test_every_translation_is_as_likely(translation: int, epoch: int) -> None:
    count = 4000
    down, right, flipped = translated(count, translation, epoch)
    ways = 2 * translation + 1
    counts = np.zeros((ways, ways, 2), int)
    np.add.at(counts, (down + translation, right + translation, flipped.astype(int)), 1)
    assert counts.sum() == count
    assert stats.chisquare(counts.ravel()).pvalue > 0.001


@pytest.mark.parametrize(
    "other", [{"epoch": 2}, {"epoch": 4}, {"seed": 1}], ids=["epoch 2", "epoch 4", "seed 1"]
)
def test_translations_of_epochs_and_seeds_are_independent(other: dict[str, int]) -> None:
    one = translated(2000, 1, epoch=0)
    down, right, _ = translated(2000, 1, **({"epoch": 0} | other))
    for before in one[:2]:
        for after in (down, right):
            pairs = np.zeros((3, 3), int)
            np.add.at(pairs, (before + 1, after + 1), 1)
            assert stats.chi2_contingency(pairs).pvalue > 0.001


def test_the_places_of_a_batch_have_no_translations_of_their_own() -> None:
    """Neither in another batch nor in another epoch."""
    images = np.random.default_rng(0).random((1, 9, 9, 3), np.float32).repeat(80, axis=0)
    batches = Batches(images, np.zeros(80), 40, alternating(2), seed=0)
    (one, _), (other, _) = epoch_of(batches, 0)
    later, _ = next(epoch_of(batches, 2))
    for picked in (other, later):
        same = [np.array_equal(*pair) for pair in zip(one, picked, strict=True)]
        assert sum(same) < 10


def test_shrunk_keeps_what_an_image_shows() -> None:
    row, column = np.mgrid[:32, :32].astype(np.float32)
    images = np.stack([row, column, row], axis=-1)[None]
    small = shrunk(images, 24)
    assert small.shape == (1, 24, 24, 3)
    # The centre of pixel i of 24 lies at (i + 0.5) * 32 / 24 - 0.5 of 32; borders are averaged.
    expected = (np.arange(24) + 0.5) * 32 / 24 - 0.5
    np.testing.assert_allclose(small[0, 1:-1, 5, 0], expected[1:-1], atol=0.05)
    np.testing.assert_allclose(small[0, 5, 1:-1, 1], expected[1:-1], atol=0.05)
    assert shrunk(images, 32) is images


@pytest.mark.parametrize("side", [9, 20, 31])
def test_shrunk_is_as_tensorflow_resizes(side: int) -> None:
    images = np.random.default_rng(0).random((3, 32, 32, 3), np.float32)
    expected = tf.image.resize(images, (side, side), antialias=True)
    small = shrunk(images, side)
    assert small.dtype == np.float32
    np.testing.assert_allclose(small, expected, atol=1e-6)
