"""Class probabilities: of images as they are, as a mean over views, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
from scipy.special import softmax

from pipeline.common.config import TestTimeAugmentation as Augmentation
from pipeline.common.shell import UserError
from pipeline.data.arrays import Dataset, write_dataset
from pipeline.evaluation.predictions import check_probabilities, load_model, predict, views

import keras

DATASET = Dataset(("cat", "dog", "frog"), 6)
WEIGHTS = np.random.default_rng(1).normal(0, 0.1, (6 * 6 * 3, 3)).astype(np.float32)
IMAGES = np.random.default_rng(2).random((7, 6, 6, 3), np.float32)


def dense(weights: np.ndarray, shape: tuple[int, ...] = (6, 6, 3)) -> keras.Model:
    layer = keras.layers.Dense(weights.shape[1], activation="softmax", use_bias=False)
    model = keras.Sequential([keras.Input(shape), keras.layers.Flatten(), layer])
    model.set_weights([weights])
    return model


def logits_of(images: np.ndarray) -> np.ndarray:
    return images.astype(np.float64).reshape(len(images), -1) @ WEIGHTS


@pytest.mark.parametrize(
    ("augmentation", "weights"),
    [("none", [1]), ("flip", [1 / 2] * 2), ("flip_translate", [1 / 4] * 2 + [1 / 8] * 4)],
)
def test_logits_of_the_views_are_averaged(augmentation: Augmentation, weights: list[float]) -> None:
    # Down and right, up and left; beyond the border is what is before it, but the border once.
    moved = [scipy.ndimage.shift(IMAGES, (0, n, n, 0), order=0, mode="mirror") for n in (1, -1)]
    seen = [view for images in (IMAGES, *moved) for view in (images, np.flip(images, 2))]
    mean = sum(w * logits_of(view) for w, view in zip(weights, seen, strict=False))
    found, one_view = predict(dense(WEIGHTS), IMAGES, augmentation, 3)
    assert found.dtype == one_view.dtype == np.float32
    assert sum(weight for weight, _ in views(IMAGES, augmentation)) == 1
    np.testing.assert_allclose(found, softmax(mean, axis=1), rtol=1e-5)
    np.testing.assert_allclose(one_view, softmax(logits_of(IMAGES), axis=1), rtol=1e-5)


def test_six_views_of_the_quarter_of_lowest_confidence() -> None:
    """Of seven images these are two, and the others keep the probabilities of one view."""
    found, one_view = predict(dense(WEIGHTS), IMAGES, "flip_translate_unsure", 3)
    of_all, _ = predict(dense(WEIGHTS), IMAGES, "flip_translate", 3)
    unsure, others = np.split(one_view.max(axis=1).argsort(), [2])
    np.testing.assert_allclose(found[unsure], of_all[unsure], rtol=1e-5)
    np.testing.assert_array_equal(found[others], one_view[others])
    assert not np.allclose(of_all[others], one_view[others], rtol=1e-3)


def test_a_probability_of_zero_is_taken_for_the_smallest_of_float32() -> None:
    """Its logarithm would be infinite, and the mean of two such no number.

    By the pixel on the left, the image is a cat for sure, and its mirror image a dog. The smallest
    probability, 2 ** -126, and 1 have 2 ** -63 for their geometric mean.
    """
    weights = np.zeros((6, 6, 3, 3), np.float32)
    weights[0, 0, 0, 0] = weights[0, 5, 0, 1] = 1000
    image = np.zeros((1, 6, 6, 3), np.float32)
    image[0, 0, 0, 0] = 1
    found, one_view = predict(dense(weights.reshape(-1, 3)), image, "flip", 1)
    np.testing.assert_array_equal(one_view, [[1, 0, 0]])
    np.testing.assert_allclose(found, [[0.5, 0.5, 2.0**-64]], rtol=1e-4)


@pytest.mark.parametrize(("shape", "classes"), [((6, 5, 3), 3), ((6, 6, 1), 3), ((6, 6, 3), 2)])
def test_a_model_of_other_images_or_classes_is_refused(
    folder: Path, shape: tuple[int, ...], classes: int
) -> None:
    write_dataset(DATASET)
    dense(np.zeros((np.prod(shape), classes)), shape).save("model.keras")
    with pytest.raises(UserError, match=r"^model.keras: takes .* square images .* of 3 classes"):
        load_model(Path("model.keras"))


def test_a_model_that_brings_code_is_refused(folder: Path) -> None:
    layers = [keras.layers.Lambda(lambda x: x), keras.layers.Flatten(), keras.layers.Dense(3)]
    keras.Sequential([keras.Input((6, 6, 3)), *layers]).save("model.keras")
    with pytest.raises(UserError, match=r"^model.keras: not a readable Keras model: .*code"):
        load_model(Path("model.keras"))


def test_how_a_model_was_trained_does_not_matter(folder: Path) -> None:
    """Here by a loss that nothing but its own program has. It names no classes: they are ours."""

    def own(actual: keras.KerasTensor, predicted: keras.KerasTensor) -> keras.KerasTensor:
        return keras.ops.mean(predicted - actual)

    copy = dense(WEIGHTS)
    copy.compile("sgd", own)
    copy.save("model.keras")
    write_dataset(DATASET)
    loaded, dataset = load_model(Path("model.keras"))
    assert dataset == DATASET
    np.testing.assert_array_equal(loaded.get_weights()[0], WEIGHTS)


@pytest.mark.parametrize(
    "row", [[0.5, 0.5012], [0.5, 0.4988], [1.001, -0.001], [0.5, np.nan], [np.inf, 0]]
)
def test_what_are_no_probabilities_is_refused(row: list[float]) -> None:
    good = [[1, 0], [0.5, 0.5009], [0.5, 0.4991]]
    check_probabilities(np.array(good, np.float32), Path("model.keras"))
    with pytest.raises(UserError, match=r"^model.keras: gives no class probabilities"):
        check_probabilities(np.array([*good, row], np.float32), Path("model.keras"))
