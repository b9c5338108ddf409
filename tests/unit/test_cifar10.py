"""CIFAR-10's binary files: records of a class and three planes of color, known by checksums."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from stages import cifar10
from stages.cifar10 import (
    CLASSES,
    META,
    META_FILE,
    TEST_BATCH,
    TRAIN_BATCHES,
    decode,
    encode,
    read_batch,
    recognize,
)
from stages.errors import InputError

# Two records by the published description: the class, then 1,024 bytes of red, green and blue.
RECORDS = bytes(
    [7, *(n % 251 for n in range(1024)), *[100] * 1024, *(n % 241 for n in range(1024))]
)
RECORDS += bytes([9, *[1] * 1024, *[2] * 1024, *[3] * 1024])
# Its SHA-256 in place of a published one.
PINNED = hashlib.sha256(RECORDS).hexdigest()


def test_a_record_is_a_class_and_three_planes_row_by_row() -> None:
    images, labels = decode(RECORDS)
    assert (images.dtype, images.shape) == (np.uint8, (2, 32, 32, 3))
    assert (labels.dtype, labels.tolist()) == (np.uint8, [7, 9])
    # Row 2, column 5 is the 70th pixel, row 5, column 2 the 163rd, both counted from 1.
    assert images[0, 2, 5].tolist() == [69, 100, 69]
    assert images[0, 5, 2].tolist() == [162, 100, 162]
    assert images[0, 31, 31].tolist() == [1023 % 251, 100, 1023 % 241]
    assert images[1, 0, 0].tolist() == images[1, 31, 0].tolist() == [1, 2, 3]


def test_images_are_laid_out_as_they_were() -> None:
    images, labels = decode(RECORDS)
    assert encode(images, labels) == RECORDS
    assert encode(images, labels.astype(np.int64)) == RECORDS


def test_classes_and_files_are_named_as_published() -> None:
    assert " ".join(CLASSES) == "airplane automobile bird cat deer dog frog horse ship truck"
    assert len(CLASSES) == 10
    assert [*TRAIN_BATCHES] == [f"data_batch_{number}.bin" for number in (1, 2, 3, 4, 5)]
    assert TEST_BATCH == "test_batch.bin"
    assert META_FILE == "batches.meta.txt"
    assert META == "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n"
    assert cifar10.BATCH_BYTES == 30_730_000


def test_a_batch_file_is_known_by_its_checksum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cifar10.SHA256, "data_batch_4.bin", PINNED)
    assert recognize(RECORDS) == "data_batch_4.bin"
    assert recognize(RECORDS[:-1]) is None
    assert recognize(b"") is None


def test_a_published_file_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cifar10.SHA256, "test_batch.bin", PINNED)
    Path("test_batch.bin").write_bytes(RECORDS)
    images, labels = read_batch(Path("test_batch.bin"))
    np.testing.assert_array_equal(images, decode(RECORDS)[0], strict=True)
    assert labels.tolist() == [7, 9]


def test_what_is_not_the_published_file_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(cifar10.SHA256, "data_batch_4.bin", PINNED)
    path = Path("data_batch_2.bin")
    with pytest.raises(InputError) as caught:
        read_batch(path)
    assert str(caught.value) == "data_batch_2.bin: missing; `dvc repro fetch` brings it"
    # Another batch, and nothing that was published.
    for content in (RECORDS, RECORDS[:-1]):
        path.write_bytes(content)
        with pytest.raises(InputError) as caught:
            read_batch(path)
        assert str(caught.value) == (
            f"data_batch_2.bin: {len(content)} bytes that are not the published ones "
            "(SHA-256 differs); `dvc repro --force fetch` brings it anew"
        )
