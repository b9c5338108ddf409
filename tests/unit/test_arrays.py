"""The arrays between the stages: what is damaged or of another kind is refused in one line."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.common.paths import DATASET
from pipeline.common.shell import UserError
from pipeline.data import arrays
from pipeline.data.arrays import Dataset

IMAGES, LABELS = Path("data/processed/train/images.npy"), Path("data/processed/train/labels.npy")
BLACK = np.zeros((2, 4, 4, 3), np.float32)


@pytest.fixture(autouse=True)
def processed(folder: Path) -> None:
    """Write two images of 4 x 4 pixels, of three classes."""
    arrays.write_dataset(Dataset(("a", "b", "ç"), 4))
    arrays.save("train", np.zeros((2, 4, 4, 3), np.uint8), np.array([0, 2], np.uint8))


def refused(split: str = "train") -> str:
    with pytest.raises(UserError) as caught:
        arrays.load(split)
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_what_is_saved_is_mapped_into_memory(folder: Path) -> None:
    """Images in the order of their axes, whatever lies next to each other in memory."""
    given = np.arange(256, dtype=np.uint8).repeat(3).reshape(-1, 3, 4, 4).transpose(0, 2, 3, 1)
    labels = (np.arange(len(given)) % 3).astype(np.uint8)
    arrays.save("test", given, labels)
    found, found_labels = arrays.load("test")
    assert (type(found), found.flags.writeable) == (np.memmap, False)
    np.testing.assert_array_equal(found, (given / 255).astype(np.float32), strict=True)
    np.testing.assert_array_equal(found_labels, labels)
    assert arrays.read_dataset() == Dataset(("a", "b", "ç"), 4)


def test_only_validation_may_be_empty() -> None:
    for split in ("train", "validation", "test"):
        arrays.save(split, np.zeros((0, 4, 4, 3), np.uint8), np.zeros(0, np.uint8))
    assert len(arrays.load("validation")[0]) == 0
    assert refused("train").endswith("images.npy: no images")
    assert refused("test").endswith("images.npy: no images")


@pytest.mark.parametrize(
    ("path", "content", "says"),
    [
        (IMAGES, b"cos\nmkdir\n(S'made'\ntR.", "not a readable .npy file"),
        (IMAGES, np.zeros((2, 4, 4, 3)), "float64 (2, 4, 4, 3); expected float32"),
        (IMAGES, np.zeros((2, 4, 5, 3), np.float32), "expected float32 ('n', 4, 4, 3)"),
        (IMAGES, BLACK - 2**-20, "allowed is 0 to 1"),
        (IMAGES, BLACK + 1 + 2**-20, "allowed is 0 to 1"),
        (IMAGES, BLACK + np.nan, "nan to nan; allowed is 0 to 1"),
        (LABELS, np.array([0, 3], np.uint8), "label 3; allowed are 0 to 2"),
        (LABELS, np.array([0, 1]), "int64 (2,); expected uint8 ('n',)"),
        (LABELS, np.zeros(3, np.uint8), "3 labels for 2 images"),
        (DATASET, b"\xff", "Invalid JSON"),
        (DATASET, b'{"side": 0, "classes": ["a", "b"]}', "side: "),
    ],
)
def test_a_damaged_file_is_refused(path: Path, content: bytes | np.ndarray, says: str) -> None:
    with path.open("wb") as file:
        if isinstance(content, bytes):
            file.write(content)
        else:
            np.save(file, content, allow_pickle=False)
    message = refused()
    assert message.startswith(f"{path}: ")
    assert says in message
    assert not Path("made").exists()


@pytest.mark.parametrize("path", [IMAGES, LABELS, DATASET], ids=str)
def test_a_missing_file_is_told(path: Path) -> None:
    path.unlink()
    assert refused() == f"{path}: missing; `dvc repro preprocess` makes it"
