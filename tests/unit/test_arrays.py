"""The arrays between the stages: what is damaged or of another kind is refused in one line."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest

from stages import arrays
from stages.errors import InputError
from tests.unit.disk import leave_free

Damage = Callable[[bytes], bytes]


def array_file(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array)
    return file.getvalue()


def archive(content: bytes) -> bytes:
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, images=np.zeros(3))
    return file.getvalue()


def images(value: float, count: int = 2) -> np.ndarray:
    return np.full((count, 32, 32, 3), value, np.float32)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_split_is_two_files(folder: Path, split: str) -> None:
    """Images in the order of their axes, whatever lies next to each other in memory."""
    given = np.arange(2 * 3 * 32 * 32).reshape(2, 3, 32, 32).astype(np.uint8)
    given = given.transpose(0, 2, 3, 1)
    arrays.save(split, given, np.array([9, 0], np.uint8))
    path = Path("data/processed") / split
    assert sorted(file.name for file in path.iterdir()) == ["images.npy", "labels.npy"]
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 32, 32, 3), }"
    content = (path / "images.npy").read_bytes()
    assert content[:128] == b"\x93NUMPY\x01\x00\x76\x00" + header.ljust(117) + b"\n"
    # The nearest float32; float64 has digits enough to round but once.
    assert content[128:] == (given / 255).astype("<f4").tobytes("C")
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }"
    content = (path / "labels.npy").read_bytes()
    assert content == b"\x93NUMPY\x01\x00\x76\x00" + header.ljust(117) + b"\n\x09\x00"


def test_a_split_is_mapped_into_memory_and_not_to_be_changed(folder: Path) -> None:
    given = np.stack([np.zeros((32, 32, 3), np.uint8), np.full((32, 32, 3), 255, np.uint8)])
    arrays.save("train", given, np.array([9, 0], np.uint8))
    found, labels = arrays.load("train")
    assert isinstance(found, np.memmap)
    np.testing.assert_array_equal(found, given / 255)
    assert labels.tolist() == [9, 0]
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 1


def test_too_little_room_for_images_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given, labels = np.zeros((2, 32, 32, 3), np.uint8), np.zeros(2, np.uint8)
    leave_free(monkeypatch, 24_576)
    arrays.save("test", given, labels)
    leave_free(monkeypatch, 24_575)
    with pytest.raises(InputError) as caught:
        arrays.save("train", given, labels)
    assert str(caught.value) == (
        "data/processed/train/images.npy: 24,576 bytes or more needed, 24,575 free on its disk"
    )
    assert [*Path("data/processed/train").iterdir()] == []


def test_a_disk_that_images_have_filled_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = np.save

    def save(file: BinaryIO, array: np.ndarray, allow_pickle: bool) -> None:
        leave_free(monkeypatch, 1)
        write(file, array, allow_pickle=allow_pickle)

    monkeypatch.setattr(np, "save", save)
    with pytest.raises(InputError) as caught:
        arrays.save("test", np.zeros((2, 32, 32, 3), np.uint8), np.zeros(2, np.uint8))
    assert str(caught.value) == (
        "data/processed/test/labels.npy: 2 bytes or more needed, 1 free on its disk"
    )


DAMAGES: dict[str, tuple[Damage, str]] = {
    "empty": (lambda content: b"", "not a readable .npy file: No data left in file"),
    "cut": (lambda content: content[:-1], "not a readable .npy file: mmap length is greater"),
    "cut in its header": (lambda content: content[:100], "not a readable .npy file: "),
    "an archive": (archive, "an archive of arrays; expected a .npy file"),
    "a pickle": (lambda content: b"\x80\x04.", "not a readable .npy file: "),
    "a zip's beginning": (lambda content: b"PK\x03\x04", "not a readable .npy file: "),
    "of a huge shape": (
        lambda content: content.replace(b"(2, 32, 32, 3), }", b"(9" + 13 * b"9" + b",)"),
        "not a readable .npy file: ",
    ),
    "of an open bracket": (lambda content: content.replace(b")", b"("), "not a readable .npy file"),
    "of objects": (lambda content: array_file(np.array([{}])), "not a readable .npy file: "),
    "of another type": (lambda content: array_file(np.zeros(3)), "float64 (3,); expected float32"),
    "of no images": (lambda content: array_file(images(0, 0)), "no images"),
    "of bytes": (lambda content: array_file(images(255)), "255.0 to 255.0; allowed is 0 to 1"),
    "not finite": (lambda content: array_file(images(np.nan)), "nan to nan; allowed is 0 to 1"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_images_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    arrays.save("train", np.zeros((2, 32, 32, 3), np.uint8), np.zeros(2, np.uint8))
    damage, says = DAMAGES[name]
    path = Path("data/processed/train/images.npy")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError) as caught:
        arrays.load("train")
    assert str(caught.value).startswith(f"{path}: {says}")
    assert str(caught.value).isprintable()


def test_no_flipped_bit_of_a_header_is_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arrays.save("test", np.zeros((2, 32, 32, 3), np.uint8), np.zeros(2, np.uint8))
    path = Path("data/processed/test/images.npy")
    content = path.read_bytes()
    refused = 0
    for bit in range(8 * 128):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            arrays.load("test")
        except InputError:
            refused += 1
    # Of the padding and of spaces in it, some bits mean nothing.
    assert refused > 300


def test_no_validation_images_are_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    arrays.save("validation", np.zeros((0, 32, 32, 3), np.uint8), np.zeros(0, np.uint8))
    found, labels = arrays.load("validation")
    assert (found.shape, labels.shape) == ((0, 32, 32, 3), (0,))


@pytest.mark.parametrize("name", ["images", "labels"])
def test_a_pickle_does_not_run(folder: Path, name: str) -> None:
    """It calls os.mkdir where it is read."""
    arrays.save("train", np.zeros((2, 32, 32, 3), np.uint8), np.zeros(2, np.uint8))
    Path(f"data/processed/train/{name}.npy").write_bytes(b"cos\nmkdir\n(S'made'\ntR.")
    with pytest.raises(InputError, match=f"{name}.npy: not a readable .npy file: "):
        arrays.load("train")
    assert not Path("made").exists()


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-(2**-20), 1.0), (0.0, 1 + 2**-20)])
def test_pixels_are_from_0_to_1(folder: Path, low: float, high: float) -> None:
    arrays.save("test", np.zeros((2, 32, 32, 3), np.uint8), np.zeros(2, np.uint8))
    path = Path("data/processed/test/images.npy")
    path.write_bytes(array_file(np.concatenate([images(low, 1), images(high, 1)])))
    if (low, high) == (0.0, 1.0):
        assert arrays.load("test")[0].shape == (2, 32, 32, 3)
        return
    with pytest.raises(InputError) as caught:
        arrays.load("test")
    assert str(caught.value) == f"{path}: {low} to {high}; allowed is 0 to 1"


@pytest.mark.parametrize(
    "shape", [(2, 32, 32), (2, 31, 32, 3), (2, 32, 31, 3), (2, 32, 32, 1), (2, 32, 32, 3, 1)]
)
def test_images_of_another_shape_are_refused(folder: Path, shape: tuple[int, ...]) -> None:
    path = Path("data/processed/validation/images.npy")
    arrays.save("validation", np.zeros(shape, np.uint8), np.zeros(2, np.uint8))
    with pytest.raises(InputError) as caught:
        arrays.load("validation")
    assert str(caught.value) == f"{path}: float32 {shape}; expected float32 ('n', 32, 32, 3)"


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (np.array([0, 1, 2], np.uint8), "3 labels for 2 images"),
        (np.array([0], np.uint8), "1 labels for 2 images"),
        (np.array([0, 10], np.uint8), "label 10; allowed are 0 to 9"),
        (np.array([[0, 1], [2, 3]], np.uint8), "uint8 (2, 2); expected uint8 ('n',)"),
        (np.array([0, 1], np.int64), "int64 (2,); expected uint8 ('n',)"),
        (np.array(0, np.uint8), "uint8 (); expected uint8 ('n',)"),
    ],
)
def test_labels_of_another_kind_are_refused(folder: Path, labels: np.ndarray, says: str) -> None:
    arrays.save("train", np.zeros((2, 32, 32, 3), np.uint8), labels)
    with pytest.raises(InputError) as caught:
        arrays.load("train")
    assert str(caught.value) == f"data/processed/train/labels.npy: {says}"


@pytest.mark.parametrize("name", ["images", "labels"])
def test_missing_arrays_are_told(folder: Path, name: str) -> None:
    arrays.save("train", np.zeros((2, 32, 32, 3), np.uint8), np.zeros(2, np.uint8))
    path = Path(f"data/processed/train/{name}.npy")
    path.unlink()
    with pytest.raises(InputError) as caught:
        arrays.load("train")
    assert str(caught.value) == f"{path}: missing; `dvc repro preprocess` makes it"


@pytest.mark.parametrize("split", ["train", "test"])
def test_no_images_to_train_or_test_on_are_refused(folder: Path, split: str) -> None:
    arrays.save(split, np.zeros((0, 32, 32, 3), np.uint8), np.zeros(0, np.uint8))
    with pytest.raises(InputError) as caught:
        arrays.load(split)
    assert str(caught.value) == f"data/processed/{split}/images.npy: no images"
