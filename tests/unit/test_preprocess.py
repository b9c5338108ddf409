"""The stage preprocess, on batch files of four records each."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.common.shell import UserError
from pipeline.data.arrays import read_dataset
from stages.preprocess import main, numbers
from tests.archives import BATCHES, LABELS, NAMES, PIXELS
from tests.project import Params, write_params

ALL_IMAGES = PIXELS.reshape(24, 32, 32, 3)
ALL_LABELS = np.array([*LABELS.values()], np.uint8).ravel()
RAW = Path("data/raw")


@pytest.fixture(autouse=True)
def raw(folder: Path, small: None) -> None:
    RAW.mkdir(parents=True)
    for name, content in BATCHES.items():
        (RAW / name).write_bytes(content)


def preprocess(params: Params, train_size: int, test_size: int, split: float) -> None:
    sizes = {"train_size": train_size, "test_size": test_size, "validation_split": split}
    write_params(Path(), params | {"preprocess": sizes})
    main()


@pytest.mark.parametrize(
    ("train_size", "split", "kept"),
    [(10, 0.15, 8), (10, 0.2, 8), (10, 0.3, 7), (20, 0.0, 20), (3, 0.5, 1), (1, 0.0, 1)],
)
def test_the_last_training_images_are_for_validation(
    params: Params, train_size: int, split: float, kept: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """As Keras's validation_split takes them: the rest is rounded down."""
    preprocess(params, train_size, 2, split)
    *_, total = capsys.readouterr().out.splitlines()
    assert total.split() == ["all", str(kept), str(train_size - kept), "2"]
    # The test images come after 20 training images.
    parts = {"train": slice(kept), "validation": slice(kept, train_size), "test": slice(20, 22)}
    for name, part in parts.items():
        images, labels = (
            np.load(f"data/processed/{name}/{n}.npy", allow_pickle=False)
            for n in ("images", "labels")
        )
        # The nearest float32; float64 has digits enough to round but once.
        expected = (ALL_IMAGES[part] / 255).astype(np.float32)
        np.testing.assert_array_equal(images, expected, strict=True)
        np.testing.assert_array_equal(labels, ALL_LABELS[part], strict=True)
    dataset = read_dataset()
    assert (dataset.side, len(dataset.classes)) == (32, 10)
    assert dataset.classes[::9] == ("airplane", "truck")


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        ((21, 4, 0.2), "params.yaml: preprocess.train_size = 21: there are 20 images"),
        ((20, 5, 0.2), "params.yaml: preprocess.test_size = 5: there are 4 images"),
        ((10, 4, 0.91), "params.yaml: preprocess.validation_split = 0.91: leaves no image of 10"),
    ],
)
def test_more_images_than_there_are_are_refused(
    params: Params, sizes: tuple[int, int, float], says: str
) -> None:
    with pytest.raises(UserError, match=says):
        preprocess(params, *sizes)
    assert not Path("data/processed").exists()


@pytest.mark.parametrize("content", [None, BATCHES[NAMES[2]][:-1], BATCHES[NAMES[1]]])
def test_a_damaged_raw_file_is_refused(params: Params, content: bytes | None) -> None:
    (RAW / NAMES[2]).unlink()
    if content is not None:
        (RAW / NAMES[2]).write_bytes(content)
    with pytest.raises(UserError, match=r"^data/raw/data_batch_3.bin: .*`dvc repro .*fetch`"):
        preprocess(params, 20, 4, 0.2)
    assert not Path("data/processed").exists()


def test_of_many_classes_the_range_is_told() -> None:
    labels = np.array([0, 0, 1, *range(2, 21)], np.uint8)
    for count, rows in ((20, 1 + 20 + 1), (21, 1 + 2 + 1)):
        part = labels[labels < count]
        table = numbers({"train": (part, part)}, tuple(f"c{n}" for n in range(count)))
        *classes, total = table.splitlines()
        assert (len(classes) + 1, total.split()[-1]) == (rows, str(len(part)))
        assert total.startswith("all 21 classes" if count == 21 else "all ")
    assert [line.split()[-1] for line in classes[1:]] == ["1", "2"]
