"""How training images are mirrored and moved, and that each epoch is augmented anew."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from scipy import stats

from stages import device as device  # First, since TensorFlow reads what it sets.
from stages.train.augmentation import Augmentation
from stages.train.batches import Batches
from stages.train.copies import with_copies
from stages.train.pixels import pick

COUNT, SIDE = 60, 8
INDEX = np.arange(COUNT)
Ways = list[tuple[int, int, bool]]


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Return images without a black pixel, none like another; whoever writes to them fails."""
    images = np.random.default_rng(0).uniform(0.1, 1, (COUNT, SIDE, SIDE, 3)).astype(np.float32)
    images.flags.writeable = False
    return images


def augmented(
    images: np.ndarray, seed: int = 0, epoch: int = 0, index: np.ndarray = INDEX, **chosen: Any
) -> np.ndarray:
    return np.concatenate([*augmented_batches(images, len(index), seed, epoch, index, **chosen)])


def augmented_batches(
    images: np.ndarray, batch_size: int, seed: int, epoch: int, index: np.ndarray, **chosen: Any
) -> Iterator[np.ndarray]:
    """Yield the images at `index`, in batches, as the loop picks them by their plan."""
    augmentation = Augmentation(**chosen)
    images = with_copies(images, seed) if augmentation.jpeg else images
    batches = Batches(images, np.zeros(COUNT, np.uint8), batch_size, augmentation, seed)
    plan = augmentation.plan(index, COUNT, SIDE, batch_size, seed, epoch)
    for chunk in batches.chunks(plan, steps=1):
        yield pick(batches.data, {name: rows[0] for name, rows in chunk.items()})[0].numpy()


def test_by_default_images_are_as_they_are(images: np.ndarray) -> None:
    index = np.array([5, 3, 59])
    found = augmented(images, index=index)
    np.testing.assert_array_equal(found, images[index], strict=True)


def flips(images: np.ndarray, **chosen: Any) -> np.ndarray:
    """Return for each image whether it is mirrored; it is that or as it was."""
    found = augmented(images, **chosen)
    mirrored = (found == images[:, :, ::-1]).all((1, 2, 3))
    assert (mirrored ^ (found == images).all((1, 2, 3))).all()
    return mirrored


def test_random_flips_mirror_another_half_in_each_epoch_and_of_each_seed(
    images: np.ndarray,
) -> None:
    drawn = [
        flips(images, flip="random", epoch=epoch, seed=seed)
        for epoch in range(3)
        for seed in (0, 1)
    ]
    for one, mirrored in enumerate(drawn):
        # Of 60, a binomial distribution gives fewer than 15 or more than 45 once in 30,000 times.
        assert 15 <= mirrored.sum() <= 45
        for other in drawn[:one]:
            assert 15 <= (mirrored != other).sum() <= 45


def test_alternating_flips_mirror_each_image_every_other_time(images: np.ndarray) -> None:
    first, *others = (flips(images, flip="alternating", epoch=epoch) for epoch in range(4))
    assert 15 <= first.sum() <= 45
    for epoch, mirrored in enumerate(others, start=1):
        np.testing.assert_array_equal(mirrored, first ^ bool(epoch % 2))


def ways_of(found: np.ndarray, original: np.ndarray, most: int, mode: str) -> Ways:
    """Return how far down and right an image was moved, and whether mirrored before: all ways."""
    padded = [
        np.pad(image, ((most, most), (most, most), (0, 0)), mode=mode)  # type: ignore[call-overload]
        for image in (original, original[:, ::-1])
    ]
    return [
        (down, right, bool(mirrored))
        for down in range(-most, most + 1)
        for right in range(-most, most + 1)
        for mirrored, surroundings in enumerate(padded)
        if np.array_equal(
            found,
            surroundings[most - down : most - down + SIDE, most - right : most - right + SIDE],
        )
    ]


@pytest.mark.parametrize("epoch", [0, 1])
@pytest.mark.parametrize("flip", ["none", "random", "alternating"])
@pytest.mark.parametrize(("border", "mode"), [("mirrored", "reflect"), ("zero", "constant")])
def test_images_are_cut_from_their_surroundings(
    images: np.ndarray, border: str, mode: str, flip: str, epoch: int
) -> None:
    """Mirrored, or black exactly where nothing is; moved by up to 2 pixels, in all 25 ways."""
    settings: dict[str, Any] = {"translation": 2, "border": border, "flip": flip}
    many = np.tile(INDEX, 5)
    found = augmented(images, epoch=epoch, index=many, **settings)
    assert found.dtype == np.float32
    moves = set()
    is_mirrored = set()
    for picked, original in zip(found, images[many], strict=True):
        ((down, right, mirrored),) = ways_of(picked, original, 2, mode)
        moves.add((down, right))
        is_mirrored.add(mirrored)
        uncovered = np.ones((SIDE, SIDE), bool)
        uncovered[max(down, 0) : SIDE + down, max(right, 0) : SIDE + right] = False
        assert np.array_equal(~picked.any(2), uncovered) == (
            border == "zero" or not uncovered.any()
        )
    assert len(moves) == 25
    assert is_mirrored == ({False} if flip == "none" else {False, True})


def test_an_image_may_move_by_more_than_its_side(images: np.ndarray) -> None:
    """Then it is gone, where the border is black."""
    found = augmented(images, translation=16, border="zero")
    # A move of 8 or more, either way, in at least one of two directions: 1 - (15 / 33) ** 2.
    gone = ~found.any((1, 2, 3))
    assert stats.binomtest(int(gone.sum()), COUNT, 1 - (15 / 33) ** 2).pvalue > 0.001
    assert augmented(images, translation=16).all()


KINDS: dict[str, dict[str, Any]] = {
    "flip": {"flip": "random"},
    "alternating": {"flip": "alternating"},
    "translation": {"translation": 2},
    "zero border": {"translation": 2, "border": "zero"},
    "cutout": {"cutout": 3},
    "brightness": {"brightness": 0.5},
    "contrast": {"contrast": 0.5},
    "noise": {"noise": 0.1},
    "jpeg": {"jpeg": 0.5},
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_epoch_and_seed_differs_and_each_can_be_repeated(
    images: np.ndarray, kind: str
) -> None:
    """The stored images stay as they are: they cannot be written to."""
    chosen = KINDS[kind]
    one = augmented(images, 3, 1, **chosen)
    np.testing.assert_array_equal(augmented(images, 3, 1, **chosen), one)
    for seed, epoch in ((3, 0), (3, 2), (4, 1)):
        other = augmented(images, seed, epoch, **chosen)
        same = (other == one).all((1, 2, 3))
        # Two flips agree in half of the cases.
        assert same.sum() < 46


@pytest.mark.parametrize("kind", KINDS)
def test_the_batches_of_an_epoch_differ(images: np.ndarray, kind: str) -> None:
    """The same image is not augmented in the same way at the same place of another batch.

    But flips are each image's own, wherever it is.
    """
    one, other = augmented_batches(images, 40, 0, 0, np.zeros(80, int), **KINDS[kind])
    same = (one == other).all((1, 2, 3))
    # Of two draws, as many are as they were or re-encoded.
    most = 30 if kind == "jpeg" else 20
    assert same.all() if "flip" in KINDS[kind] else same.sum() < most


@pytest.mark.parametrize(
    ("share", "epochs", "expected"),
    # round(2.5) is 2 in Python, as in IEEE 754.
    [(0.0, 9, 0), (0.5, 5, 2), (0.6, 7, 4), (0.5, 12, 6), (1.0, 9, 8), (1.0, 1, 0), (0.34, 3, 1)],
)
def test_first_epochs_are_of_low_resolution_but_never_the_last(
    share: float, epochs: int, expected: int
) -> None:
    assert Augmentation(low_resolution_share=share).low_resolution_epochs(epochs) == expected
