"""The arrays between the stages: what is damaged or of another kind is refused in one line."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stages import arrays
from stages.errors import InputError

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
