"""The stage preprocess, on batch files of three records each."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stages import cifar10
from stages.errors import InputError
from stages.preprocess.__main__ import main, split_at
from stages.preprocess.params import PreprocessParams
from tests.project import Params, write_params

FILES = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]
# The class of each record; its pixels are 17 times the number of the record.
LABELS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 0]
TEST_LABELS = [8, 2, 6]


@pytest.fixture
def raw(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with batch files whose records each have one gray."""
    raw = folder / "data/raw"
    raw.mkdir(parents=True)
    for number, name in enumerate(FILES):
        labels = (LABELS + TEST_LABELS)[3 * number : 3 * number + 3]
        # The test images are the darkest.
        grays = [17 * (3 * number + i) if number < 5 else i for i in range(3)]
        records = [
            bytes([label, *3072 * [gray]]) for label, gray in zip(labels, grays, strict=True)
        ]
        content = b"".join(records)
        (raw / name).write_bytes(content)
        monkeypatch.setitem(cifar10.SHA256, name, hashlib.sha256(content).hexdigest())
    return raw


def read(split: str) -> tuple[list[float], list[int]]:
    """Return the gray of each image, and the labels."""
    folder = Path("data/processed") / split
    images = np.load(folder / "images.npy", allow_pickle=False)
    labels = np.load(folder / "labels.npy", allow_pickle=False)
    assert (images.dtype, images.shape[1:], labels.dtype) == (np.float32, (32, 32, 3), np.uint8)
    grays = images[:, 0, 0, 0]
    assert (images == grays[:, None, None, None]).all()
    return grays.tolist(), labels.tolist()


def grays(*levels: int) -> list[float]:
    """Return levels of 0 to 255 as they are stored: the float32 nearest to the level by 255."""
    return (np.array(levels, float) / 255).astype(np.float32).tolist()


@pytest.mark.parametrize(
    ("size", "split", "kept"),
    [(10, 0.15, 8), (10, 0.0, 10), (10, 0.2, 8), (3, 0.5, 1), (1, 0.0, 1), (50_000, 0.2, 40_000)],
)
def test_the_share_kept_for_training_is_rounded_down(size: int, split: float, kept: int) -> None:
    assert split_at(size, split) == kept


def test_the_last_training_images_are_for_validation(
    raw: Path, params: Params, call: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    params["preprocess"] = {"train_size": 10, "test_size": 2, "validation_split": 0.15}
    write_params(Path(), params)
    call(main)
    assert read("train") == (grays(0, 17, 34, 51, 68, 85, 102, 119), LABELS[:8])
    assert read("validation") == (grays(136, 153), LABELS[8:10])
    assert read("test") == (grays(0, 1), TEST_LABELS[:2])
    assert capsys.readouterr().out == "train 8, validation 2, test 2 images\n"


def test_no_split_keeps_every_image_for_training(
    raw: Path, params: Params, call: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    params["preprocess"] = {"train_size": 15, "test_size": 3, "validation_split": 0.0}
    write_params(Path(), params)
    call(main)
    assert read("train") == (grays(*range(0, 255, 17)), LABELS)
    assert read("test") == (grays(0, 1, 2), TEST_LABELS)
    assert np.load("data/processed/validation/images.npy", allow_pickle=False).size == 0
    assert capsys.readouterr().out == "train 15, validation 0, test 3 images\n"


def test_a_split_that_leaves_nothing_is_refused_before_any_file_is_read(
    params: Params, call: Callable[..., None]
) -> None:
    params["preprocess"] = {"train_size": 10, "test_size": 2, "validation_split": 0.91}
    write_params(Path(), params)
    with pytest.raises(InputError) as caught:
        call(main)
    assert str(caught.value) == (
        "params.yaml: preprocess.validation_split = 0.91: leaves no image of 10 to train on"
    )


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_told_and_nothing_is_written(
    raw: Path, params: Params, call: Callable[..., None], name: str
) -> None:
    (raw / name).unlink()
    with pytest.raises(InputError) as caught:
        call(main)
    assert str(caught.value) == f"data/raw/{name}: missing; `dvc repro fetch` brings it"
    assert not Path("data/processed").exists()


@pytest.mark.parametrize(
    ("key", "allowed", "refused"),
    [
        ("train_size", (1, 50_000), (0, 50_001, 1.0)),
        ("test_size", (1, 10_000), (0, 10_001, "1")),
        ("validation_split", (0.0, 0.999), (-0.001, 1.0, None)),
    ],
)
def test_limits(key: str, allowed: tuple[object, ...], refused: tuple[object, ...]) -> None:
    values: dict[str, object] = {"train_size": 5, "test_size": 5, "validation_split": 0.5}
    for value in allowed:
        assert getattr(PreprocessParams.model_validate(values | {key: value}), key) == value
    for value in refused:
        with pytest.raises(ValueError, match=key):
            PreprocessParams.model_validate(values | {key: value})
