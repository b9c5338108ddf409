"""The stage preprocess, on all real images."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from stages.cifar10 import CLASSES
from tests.project import (
    Stage,
    assert_refused,
    default_params,
    environment_of_tests,
    run_stage,
    write_params,
)

MEANS = [0.491400, 0.482158, 0.446531]
DEVIATIONS = [0.247032, 0.243485, 0.261588]


def preprocess(
    folder: Path, raw: Path, **settings: float
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Run the stage in `folder` and return images and labels of each split."""
    link(folder, raw)
    params = default_params()
    params["preprocess"] |= settings
    write_params(folder, params)
    result = run_stage("preprocess", folder)
    assert result.returncode == 0, result.stderr
    return arrays_in(folder)


def arrays_in(folder: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return images and labels of each split."""
    return {
        split: (
            np.load(folder / f"data/processed/{split}/images.npy", "r", allow_pickle=False),
            np.load(folder / f"data/processed/{split}/labels.npy", "r", allow_pickle=False),
        )
        for split in ("train", "validation", "test")
    }


def link(folder: Path, raw: Path) -> None:
    """Put the published files into `folder` by symbolic links."""
    (folder / "data/raw").mkdir(parents=True)
    for path in raw.iterdir():
        (folder / "data/raw" / path.name).symlink_to(path)


def test_arrays_are_the_published_images(tmp_path: Path, raw: Path) -> None:
    """And made within 15 s and 2.5 GB."""
    link(tmp_path, raw)
    write_params(tmp_path, default_params())
    start = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "stages.preprocess"], cwd=tmp_path, env=environment_of_tests()
    )
    _, status, used = os.wait4(process.pid, 0)
    assert status == 0
    assert time.monotonic() - start < 15
    assert used.ru_maxrss * 1024 < 2.5e9
    splits = arrays_in(tmp_path)
    for split, size in (("train", 40_000), ("validation", 10_000), ("test", 10_000)):
        images, labels = splits[split]
        assert (images.dtype, images.shape) == (np.float32, (size, 32, 32, 3))
        assert (labels.dtype, labels.shape) == (np.uint8, (size,))
        assert images.min() == 0
        assert images.max() == 1
        assert set(labels) == set(range(len(CLASSES)))
    assert splits["train"][1][:10].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]
    assert splits["test"][1][:10].tolist() == [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]
    # The last record of the last batch, as its bytes stand in the published file.
    record = np.fromfile(raw / "data_batch_5.bin", np.uint8)[-3073:]
    expected = record[1:].reshape(3, 32, 32).transpose(1, 2, 0).astype("float32") / 255
    np.testing.assert_array_equal(splits["validation"][0][-1], expected)
    assert splits["validation"][1][-1] == record[0]
    both = np.concatenate([splits["train"][0], splits["validation"][0]])
    for channel, (mean, deviation) in enumerate(zip(MEANS, DEVIATIONS, strict=True)):
        values = both[..., channel].ravel()
        assert values.mean(dtype=np.float64) == pytest.approx(mean, abs=1e-6)
        assert values.std(dtype=np.float64) == pytest.approx(deviation, abs=1e-6)


@pytest.mark.parametrize(("split", "kept"), [(0.0, 1000), (0.2, 800), (0.3, 700), (0.7, 300)])
def test_validation_is_the_end_of_the_training_images(
    tmp_path: Path, raw: Path, split: float, kept: int
) -> None:
    splits = preprocess(tmp_path, raw, train_size=1000, test_size=10, validation_split=split)
    labels = np.fromfile(raw / "data_batch_1.bin", np.uint8).reshape(-1, 3073)[:1000, 0]
    np.testing.assert_array_equal(splits["train"][1], labels[:kept])
    np.testing.assert_array_equal(splits["validation"][1], labels[kept:])
    assert len(splits["validation"][0]) == 1000 - kept
    assert len(splits["test"][0]) == 10


@pytest.mark.parametrize("damage", ["missing", "truncated", "flipped", "another batch"])
def test_damaged_raw_file_is_refused(
    call_stage: Stage, tmp_path: Path, raw: Path, damage: str
) -> None:
    link(tmp_path, raw)
    write_params(tmp_path, default_params())
    content = bytearray((raw / "data_batch_3.bin").read_bytes())
    path = tmp_path / "data/raw/data_batch_3.bin"
    path.unlink()
    if damage == "truncated":
        path.write_bytes(content[:-1])
    elif damage == "flipped":
        content[12_345_678] ^= 4
        path.write_bytes(content)
    elif damage == "another batch":
        path.symlink_to(raw / "data_batch_2.bin")
    assert_refused(call_stage("preprocess", tmp_path), "data/raw/data_batch_3.bin: ")
    assert not (tmp_path / "data/processed").exists()
