"""PNG pictures and lists of labels: which are refused, and what batch files they make."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from stages.fetch.pictures import check_labels, decode_png, paired, read_labels, read_picture
from stages.fetch.transfer import SourceError
from tests.archives import png
from tests.unit.small_batches import BATCHES, IMAGES, LABELS, NAMES, laid_out

# Width 3, height 2.
PIXELS = np.arange(18, dtype="u1").reshape(2, 3, 3)


def failure(call: Callable[[], object]) -> str:
    """Return why something is refused."""
    with pytest.raises(SourceError) as error:
        call()
    return str(error.value)


def saved(picture: Image.Image, form: str = "PNG") -> bytes:
    """Return a picture as a file."""
    file = io.BytesIO()
    picture.save(file, form)
    return file.getvalue()


def test_a_picture_is_decoded() -> None:
    decoded = decode_png(png(PIXELS), (3, 2), "a")
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, PIXELS)


@pytest.mark.parametrize("size", [(2, 3), (3, 3), (2, 2), (4, 2)])
def test_a_picture_of_another_size_is_refused(size: tuple[int, int]) -> None:
    found = failure(lambda: decode_png(png(PIXELS), size, "test_batch.png"))
    assert found == f"test_batch.png: a picture of 3 x 2 RGB, not {size[0]} x {size[1]} RGB"


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "I;16"])
def test_a_picture_of_another_mode_is_refused(mode: str) -> None:
    content = saved(Image.new(mode, (3, 2)))
    found = failure(lambda: decode_png(content, (3, 2), "img"))
    assert found == f"img: a picture of 3 x 2 {mode}, not 3 x 2 RGB"


def test_the_size_is_checked_before_anything_is_decoded() -> None:
    cut_off = png(PIXELS)[:45]
    assert failure(lambda: decode_png(cut_off, (9, 9), "a")) == (
        "a: a picture of 3 x 2 RGB, not 9 x 9 RGB"
    )
    reason = failure(lambda: decode_png(cut_off, (3, 2), "a"))
    assert reason.startswith("a: not a readable PNG: ")
    assert reason.isprintable()


@pytest.mark.parametrize(
    "content", [b"", b"\x89PNG\r\n\x1a\n", saved(Image.new("RGB", (3, 2)), "BMP")]
)
def test_what_is_no_png_is_refused(content: bytes) -> None:
    reason = failure(lambda: decode_png(content, (3, 2), "img"))
    assert reason.startswith("img: not a readable PNG: cannot identify image file ")


def test_whatever_a_decoder_raises_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(*arguments: object, **settings: object) -> None:
        raise RuntimeError("one\n two")

    monkeypatch.setattr("PIL.Image.open", opened)
    assert failure(lambda: decode_png(b"", (3, 2), "img")) == "img: not a readable PNG: one two"


@pytest.mark.parametrize("labels", [[0, 9], [9, 0, 4], [7], np.array([3, 1]), np.array([], "i8")])
def test_labels_from_0_to_9_are_allowed(labels: object) -> None:
    checked = check_labels(labels, "a")
    assert checked.dtype == np.uint8
    assert checked.tolist() == [*labels]  # type: ignore[misc]


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        ([3, -1, 2], "labels from -1 to 3; allowed are 0 to 9"),
        ([3, 10, 2], "labels from 2 to 10; allowed are 0 to 9"),
        ([256], "labels from 256 to 256; allowed are 0 to 9"),
        ([1.0], "labels are not a list of integers"),
        ([True], "labels are not a list of integers"),
        (["1"], "labels are not a list of integers"),
        ([None], "labels are not a list of integers"),
        ([[1], [2]], "labels are not a list of integers"),
        (1, "labels are not a list of integers"),
        ({"1": 2}, "labels are not a list of integers"),
        ([10**30], "labels are not a list of integers"),
    ],
    ids=str,
)
def test_other_labels_are_refused(labels: object, found: str) -> None:
    assert failure(lambda: check_labels(labels, "label")) == f"label: {found}"


def test_labels_are_read_from_json() -> None:
    assert read_labels(b" [3, 0,\n9]", "a").tolist() == [3, 0, 9]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "not a JSON list of labels: Expecting value: line 1 column 1 (char 0)"),
        (b"[1, 2", "not a JSON list of labels: Expecting ',' delimiter: line 1 column 6 (char 5)"),
        (b"[10]", "labels from 10 to 10; allowed are 0 to 9"),
        (b'{"labels": [1]}', "labels are not a list of integers"),
    ],
)
def test_other_json_is_refused(content: bytes, found: str) -> None:
    assert failure(lambda: read_labels(content, "test_lables.json")) == f"test_lables.json: {found}"


@pytest.mark.parametrize("content", [b"\xff", b"[[1], [1, 2]]"])
def test_json_that_numpy_or_python_cannot_read_is_refused(content: bytes) -> None:
    assert failure(lambda: read_labels(content, "a")).startswith("a: not a JSON list of labels: ")


def test_a_published_picture_has_ten_thousand_images() -> None:
    pixels = np.zeros((10_000, 1024, 3), "u1")
    # The last image's last row: the blue of one pixel.
    pixels[9_999, 31 * 32 + 2, 2] = 7
    images = read_picture(png(pixels), "a")
    assert images.shape == (10_000, 32, 32, 3)
    assert np.argwhere(images).tolist() == [[9_999, 31, 2, 2]]
    assert images[9_999, 31, 2, 2] == 7
    assert failure(lambda: read_picture(png(pixels[1:]), "test_batch.png")) == (
        "test_batch.png: a picture of 1024 x 9999 RGB, not 1024 x 10000 RGB"
    )


PICTURES = {name.removesuffix(".bin"): IMAGES[name] for name in reversed(NAMES)}
TRAIN = np.array([label for name in NAMES[:5] for label in LABELS[name]], "u1")
TEST = np.array(LABELS["test_batch.bin"], "u1")


@pytest.mark.usefixtures("small")
def test_pictures_and_labels_are_paired() -> None:
    assert [*paired(PICTURES, {"train": TRAIN, "test": TEST})] == [*BATCHES.values()]


@pytest.mark.usefixtures("small")
def test_labels_beyond_those_of_the_pictures_are_passed_over() -> None:
    more = np.array([0, 1], "u1")
    labels = {"train": np.append(TRAIN, more), "test": np.append(TEST, more)}
    assert [*paired(PICTURES, labels)] == [*BATCHES.values()]
    third = {"data_batch_3": PICTURES["data_batch_3"]}
    assert [*paired(third, {"train": TRAIN})] == [
        laid_out(IMAGES["data_batch_3.bin"], [0, 3, 6, 9])
    ]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("name", "labels", "found"),
    [
        ("test_batch", {"train": TRAIN}, "test_batch.png: 0 labels for 4 images"),
        ("data_batch_1", {"test": TEST}, "data_batch_1.png: 0 labels for 4 images"),
        ("data_batch_2", {"train": TRAIN[:7]}, "data_batch_2.png: 3 labels for 4 images"),
        ("data_batch_5", {"train": TRAIN[:15]}, "data_batch_5.png: 0 labels for 4 images"),
        ("test_batch", {"test": TEST[:3]}, "test_batch.png: 3 labels for 4 images"),
    ],
)
def test_pictures_without_their_labels_are_refused(
    name: str, labels: dict[str, np.ndarray], found: str
) -> None:
    assert failure(lambda: [*paired({name: PICTURES[name]}, labels)]) == found
