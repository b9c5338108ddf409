"""What an epoch's plan does to the training images: their order, and what their pixels become."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from scipy import stats

from pipeline.common.config import Augmentation
from pipeline.training.augmentation import (
    NORMALS,
    in_chunks,
    normals,
    pick,
    plan_epoch,
    resized,
    with_jpeg_copies,
)

import tensorflow as tf

COUNT, SIDE = 600, 8
LABELS = np.arange(COUNT)
# Without a black pixel, none like another; whoever writes to them fails.
IMAGES = np.random.default_rng(0).uniform(0.1, 1, (COUNT, SIDE, SIDE, 3)).astype(np.float32)
IMAGES.flags.writeable = False


def batches_of(
    images: np.ndarray, seed: int = 0, epoch: int = 0, batch_size: int = 200, **chosen: Any
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield images and labels of each batch; a label is the number of its image."""
    params = Augmentation(**chosen)
    plan = plan_epoch(params, COUNT, images.shape[1], batch_size, seed, epoch)
    for chunk in in_chunks(plan, batch_size, steps=1):
        batch = {name: tf.constant(rows[0]) for name, rows in chunk.items()}
        picked, labels = pick(tf.constant(images), tf.constant(LABELS), batch)
        yield picked.numpy(), labels.numpy()


def augmented(images: np.ndarray, **chosen: Any) -> np.ndarray:
    """Return the images of an epoch, each at its own place again."""
    found = np.empty((COUNT, *images.shape[1:]), np.float32)
    for picked, labels in batches_of(images, **chosen):
        found[labels] = picked
    return found


def test_an_epoch_has_every_image_once_in_an_order_of_seed_and_epoch() -> None:
    orders: dict[tuple[int, int], list[int]] = {}
    for seed, epoch in ((0, 0), (0, 1), (1, 0)):
        for batch_size, chosen in ((256, {}), (7, {"flip": "random", "translation": 1})):
            found = batches_of(IMAGES, seed, epoch, batch_size, **chosen)
            batches = [labels for _, labels in found]
            assert {len(labels) for labels in batches[:-1]} == {batch_size}
            order = np.concatenate(batches)
            assert sorted(order) == [*range(COUNT)]
            assert orders.setdefault((seed, epoch), order.tolist()) == order.tolist()
    assert len({tuple(order) for order in orders.values()}) == 3
    np.testing.assert_array_equal(augmented(IMAGES), IMAGES)


@pytest.mark.parametrize(
    ("steps", "shapes"), [(1, [(1, 3)] * 3 + [(1, 1)]), (2, [(2, 3), (1, 3), (1, 1)])]
)
def test_chunks_hold_whole_batches_of_one_size(steps: int, shapes: list[tuple[int, int]]) -> None:
    plan = {"index": np.arange(10), "rows": np.arange(50).reshape(10, 5)}
    chunks = [*in_chunks(plan, 3, steps)]
    assert [chunk["index"].shape for chunk in chunks] == shapes
    assert [chunk["rows"].shape for chunk in chunks] == [(*shape, 5) for shape in shapes]
    np.testing.assert_array_equal(np.concatenate([c["rows"].ravel() for c in chunks]), range(50))


def mirrored(**chosen: Any) -> np.ndarray:
    """Return for each image whether it is mirrored; it is that or as it was."""
    found = augmented(IMAGES, **chosen)
    flips = (found == IMAGES[:, :, ::-1]).all((1, 2, 3))
    assert (flips ^ (found == IMAGES).all((1, 2, 3))).all()
    return flips


def test_flips_are_random_or_alternate() -> None:
    drawn = [mirrored(flip="random", epoch=e, seed=s) for e in range(3) for s in (0, 1)]
    for number, flips in enumerate(drawn):
        # A binomial distribution gives less or more about once in a hundred thousand times.
        assert 245 < flips.sum() < 355
        assert all(245 < (flips != other).sum() < 355 for other in drawn[:number])
    first, *others = (mirrored(flip="alternating", epoch=epoch) for epoch in range(4))
    assert 245 < first.sum() < 355
    for epoch, flips in enumerate(others, start=1):
        np.testing.assert_array_equal(flips, first ^ bool(epoch % 2))


@pytest.mark.parametrize("flip", ["none", "random", "alternating"])
@pytest.mark.parametrize(("padding_mode", "mode"), [("reflect", "reflect"), ("zeros", "constant")])
def test_images_are_cut_from_their_surroundings(padding_mode: str, mode: Any, flip: str) -> None:
    """By up to 2 pixels, each of the 25 ways as likely, in both directions and both mirrorings."""
    found = augmented(IMAGES, translation=2, padding_mode=padding_mode, flip=flip, epoch=1)
    both = np.stack([IMAGES, IMAGES[:, :, ::-1]])
    padded = np.pad(both, ((0, 0), (0, 0), (2, 2), (2, 2), (0, 0)), mode=mode)
    windows = [padded[:, :, d : d + SIDE, r : r + SIDE] for d in range(5) for r in range(5)]
    is_window = np.array([(found == window).all((2, 3, 4)) for window in windows])
    assert (is_window.sum((0, 1)) == 1).all()
    assert is_window.any((0, 2)).tolist() == [True, flip != "none"]
    assert stats.chisquare(is_window.sum((1, 2))).pvalue > 0.001


def test_an_image_may_be_shifted_by_more_than_its_side() -> None:
    gone = ~augmented(IMAGES, translation=16, padding_mode="zeros").any((1, 2, 3))
    # By 8 or more, either way, in at least one of two directions: 1 - (15 / 33) ** 2.
    assert stats.binomtest(int(gone.sum()), COUNT, 1 - (15 / 33) ** 2).pvalue > 0.001
    assert augmented(IMAGES, translation=16).all()


@pytest.mark.parametrize("size", [1, 2, 3, SIDE])
def test_cutout_is_a_black_square_around_any_pixel(size: int) -> None:
    found = augmented(IMAGES, cutout=size)
    black = (found == 0).all(3)
    np.testing.assert_array_equal(found, np.where(black[..., None], 0, IMAGES))
    squares = set()
    for middle in range(SIDE**2):
        top, left = middle // SIDE - size // 2, middle % SIDE - size // 2
        square = np.zeros((SIDE, SIDE), bool)
        square[max(top, 0) : max(top + size, 0), max(left, 0) : max(left + size, 0)] = True
        squares.add(square.tobytes())
    assert {square.tobytes() for square in black} == squares


def test_brightness_contrast_and_noise_by_formula() -> None:
    """Each uniform up to the given number, drawn by itself; clipped once, at the end."""
    grey = np.full_like(IMAGES, 0.5)
    added = augmented(grey, brightness=0.4)[:, 0, 0, 0] - 0.5
    assert stats.kstest(added, stats.uniform(-0.4, 0.8).cdf).pvalue > 0.001
    steps = np.where(np.arange(SIDE) % 2, 0.4, 0.6).astype(np.float32)[:, None, None] * 2 * grey
    factor = augmented(steps, contrast=0.5)[:, ::2].mean((1, 2, 3)) * 10 - 5
    assert stats.kstest(factor, stats.uniform(0.5, 1).cdf).pvalue > 0.001
    noise = augmented(grey, noise=0.1) - 0.5
    deviations = noise.std((1, 2, 3))
    assert stats.kstest(deviations, stats.uniform(0, 0.1).cdf).pvalue > 0.001
    standard = (noise / deviations[:, None, None, None])[deviations > 0.02]
    assert stats.kstest(standard.ravel()[::7], stats.norm.cdf).pvalue > 0.001
    assert abs(np.corrcoef(standard.reshape(len(standard), -1)[:20]) - np.eye(20)).max() < 0.4
    for drawn, other in ((added, factor), (added, deviations), (factor, deviations)):
        assert stats.spearmanr(drawn, other).pvalue > 0.001

    bright = IMAGES + added[:, None, None, None]
    mean = bright.mean((1, 2), keepdims=True)
    expected = mean + factor[:, None, None, None] * (bright - mean) + noise
    assert expected.max() > 1 > 0 > expected.min()
    expected = expected.clip(0, 1)
    expected[augmented(np.ones_like(IMAGES), cutout=3) == 0] = 0
    found = augmented(IMAGES, cutout=3, brightness=0.4, contrast=0.5, noise=0.1)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_noise_is_a_window_of_the_same_numbers() -> None:
    numbers = np.random.default_rng(0).standard_normal(NORMALS + 3 * SIDE**2, np.float32)
    starts = [0, 5, NORMALS - 1]
    expected = np.reshape([numbers[s : s + 3 * SIDE**2] for s in starts], (3, SIDE, SIDE, 3))
    np.testing.assert_array_equal(normals(np.array(starts), SIDE), expected)


KINDS: dict[str, Any] = {"flip": "random", "translation": 2, "cutout": 3, "noise": 0.1}
KINDS |= dict.fromkeys(("brightness", "contrast", "jpeg_fraction"), 0.5)


@pytest.mark.parametrize("kind", KINDS)
def test_each_epoch_and_seed_differs_and_each_can_be_repeated(kind: str) -> None:
    chosen = {kind: KINDS[kind]}
    shown = with_jpeg_copies(IMAGES, 0) if kind == "jpeg_fraction" else IMAGES
    one = augmented(shown, seed=3, epoch=1, **chosen)
    np.testing.assert_array_equal(augmented(shown, seed=3, epoch=1, **chosen), one)
    for seed, epoch in ((3, 0), (3, 2), (4, 1)):
        other = augmented(shown, seed=seed, epoch=epoch, **chosen)
        assert (other == one).all((1, 2, 3)).mean() < 0.6


def test_a_fraction_is_taken_from_jpeg_copies() -> None:
    """Of a random quality from 30 to 95, found by TensorFlow's encoder."""
    both = with_jpeg_copies(IMAGES, 3)
    assert both.dtype == np.float32
    np.testing.assert_array_equal(both[:COUNT], IMAGES)
    found = augmented(both, jpeg_fraction=0.25)
    from_copies = (found == both[COUNT:]).all((1, 2, 3))
    np.testing.assert_array_equal(found[~from_copies], IMAGES[~from_copies])
    assert stats.binomtest(int(from_copies.sum()), COUNT, 0.25).pvalue > 0.001
    qualities = []
    for image, copy in zip(IMAGES[:60], both[COUNT : COUNT + 60], strict=True):
        in_8_bits = tf.image.convert_image_dtype(image, tf.uint8, saturate=True)
        for quality in range(28, 98):
            content = tf.io.encode_jpeg(in_8_bits, quality=quality)
            decoded = tf.io.decode_jpeg(content, dct_method="INTEGER_ACCURATE").numpy()
            if np.allclose(decoded / 255, copy, atol=1e-6):
                qualities.append(quality)
    assert len(qualities) == 60
    assert 30 <= min(qualities) < 40 < 85 < max(qualities) <= 95


def test_the_highest_jpeg_quality_is_drawn_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.training.augmentation.LOWEST_QUALITY", 95)
    assert len(with_jpeg_copies(IMAGES[:3], 0)) == 6


@pytest.mark.parametrize("side", [5, 7, SIDE])
def test_small_images_are_as_tensorflow_resizes(side: int) -> None:
    expected = tf.image.resize(IMAGES, (side, side), antialias=True)
    small = resized(IMAGES, side)
    assert small.dtype == np.float32
    np.testing.assert_allclose(small, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("fraction", "epochs", "expected"),
    [(0.0, 9, 0), (0.5, 5, 2), (0.6, 7, 4), (1.0, 9, 8), (1.0, 1, 0), (0.34, 3, 1)],
)
def test_first_epochs_are_on_small_images_but_never_the_last(
    fraction: float, epochs: int, expected: int
) -> None:
    assert Augmentation(small_image_fraction=fraction).small_image_epochs(epochs) == expected
