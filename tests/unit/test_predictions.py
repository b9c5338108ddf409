"""Class probabilities: of images as they are, as a mean over views, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
from scipy.special import softmax

from pipeline.common.config import TestTimeAugmentation as Augmentation
from pipeline.common.shell import UserError
from pipeline.data.arrays import Dataset, write_dataset
from pipeline.evaluation.predictions import check_probabilities, load_model, passes, predict, views

import keras

DATASET = Dataset(("cat", "dog", "frog"), 6)
WEIGHTS = np.random.default_rng(1).normal(0, 0.1, (6 * 6 * 3, 3)).astype(np.float32)
IMAGES = np.random.default_rng(2).random((7, 6, 6, 3), np.float32)


def dense(
    weights: np.ndarray, shape: tuple[int, ...] = (6, 6, 3), activation: str = "softmax"
) -> keras.Model:
    images = keras.Input(shape)
    layer = keras.layers.Dense(weights.shape[1], activation=activation, use_bias=False)
    model = keras.Model(images, layer(keras.layers.Flatten()(images)))
    model.set_weights([weights])
    return model


def logits_of(images: np.ndarray) -> np.ndarray:
    return images.astype(np.float64).reshape(len(images), -1) @ WEIGHTS


def moved(images: np.ndarray, pixels: int) -> np.ndarray:
    """Move images down and right; beyond the border is what is before it, but the border once."""
    return scipy.ndimage.shift(images, (0, pixels, pixels, 0), order=0, mode="mirror")


def expected_views(images: np.ndarray) -> dict[str, list[tuple[float, np.ndarray]]]:
    both = [(1 / 2, images), (1 / 2, np.flip(images, 2))]
    shifted = [moved(images, 1), moved(images, -1)]
    six = [(weight / 2, view) for weight, view in both]
    six += [(1 / 8, view) for image in shifted for view in (image, np.flip(image, 2))]
    return {"none": [(1, images)], "flip": both, "flip_translate": six}


@pytest.mark.parametrize("augmentation", ["none", "flip", "flip_translate"])
def test_logits_of_the_views_are_averaged(augmentation: Augmentation) -> None:
    given = expected_views(IMAGES)[augmentation]
    mean = sum(weight * logits_of(view) for weight, view in given)
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


@pytest.mark.parametrize(
    ("augmentation", "seen"),
    [("none", 7), ("flip", 14), ("flip_translate", 42), ("flip_translate_unsure", 7 + 2 * 5)],
)
def test_the_bar_counts_what_the_model_sees(augmentation: Augmentation, seen: int) -> None:
    assert passes(7, augmentation) == seen


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


@pytest.mark.parametrize("shape", [(6, 5, 3), (6, 6, 1)])
def test_a_model_of_no_square_pictures_is_refused(folder: Path, shape: tuple[int, ...]) -> None:
    write_dataset(DATASET)
    dense(np.zeros((np.prod(shape), 3)), shape).save("model.keras")
    with pytest.raises(UserError, match=r"^model.keras: takes .*; expected are square images"):
        load_model(Path("model.keras"))


def test_a_model_of_as_many_classes_as_here_is_taken_for_one_of_these(folder: Path) -> None:
    """Which does not name its classes itself."""
    dense(WEIGHTS).save("model.keras")
    write_dataset(DATASET)
    _, found = load_model(Path("model.keras"))
    assert found == DATASET
    write_dataset(Dataset(("cat", "dog"), 6))
    with pytest.raises(UserError, match="of 2 classes"):
        load_model(Path("model.keras"))


def test_a_model_that_brings_code_is_refused(folder: Path) -> None:
    images = keras.Input((6, 6, 3))
    code = keras.layers.Lambda(lambda x: x)(images)
    keras.Model(images, keras.layers.Dense(3)(keras.layers.Flatten()(code))).save("model.keras")
    with pytest.raises(UserError, match=r"^model.keras: not a readable Keras model: .*code"):
        load_model(Path("model.keras"))


def test_how_a_model_was_trained_does_not_matter(folder: Path) -> None:
    """Here by a loss that nothing but its own program has."""

    def own(actual: keras.KerasTensor, predicted: keras.KerasTensor) -> keras.KerasTensor:
        return keras.ops.mean(predicted - actual)

    copy = dense(WEIGHTS)
    copy.compile("sgd", own)
    copy.save("model.keras")
    write_dataset(DATASET)
    loaded, _ = load_model(Path("model.keras"))
    np.testing.assert_array_equal(loaded.get_weights()[0], WEIGHTS)


@pytest.mark.parametrize(
    "row", [[0.5, 0.5012], [0.5, 0.4988], [1.001, -0.001], [0.5, np.nan], [np.inf, 0]]
)
def test_what_are_no_probabilities_is_refused(row: list[float]) -> None:
    good = [[1, 0], [0.5, 0.5009], [0.5, 0.4991]]
    check_probabilities(np.array(good, np.float32), Path("model.keras"))
    with pytest.raises(UserError, match=r"^model.keras: gives no class probabilities"):
        check_probabilities(np.array([*good, row], np.float32), Path("model.keras"))
