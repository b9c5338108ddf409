"""Batches in Parquet files: rows put together, columns and sizes that are refused."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from stages.fetch.archives import batches
from stages.fetch.parquet import parquet_batches
from stages.fetch.transfer import SourceError
from tests.archives import png
from tests.unit.small_batches import BATCHES, LABELS, NAMES, parquet

TYPE = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])


def failure(content: bytes, before: list[bytes] | None = None) -> str:
    """Return why a file is refused, after the batches `before`."""
    found: list[bytes] = []
    with pytest.raises(SourceError) as error:
        found.extend(parquet_batches(io.BytesIO(content)))
    assert found == (before or [])
    return str(error.value)


def table(**columns: Any) -> bytes:
    """Return a Parquet file of columns."""
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), file)
    return file.getvalue()


def pictures(count: int, content: bytes | None = None) -> pyarrow.Array:
    """Return a column of one picture again and again."""
    row = {"bytes": content or png(np.zeros((32, 32, 3), "u1")), "path": "a.png"}
    return pyarrow.array([row] * count, TYPE)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("rows_a_group", [1, 3, 4, 5, 24])
def test_rows_become_batches_however_they_are_grouped(rows_a_group: int) -> None:
    names = NAMES[::-1]
    content = parquet(*names, rows_a_group=rows_a_group)
    assert [*parquet_batches(io.BytesIO(content))] == [BATCHES[name] for name in names]


@pytest.mark.usefixtures("small")
def test_rows_beyond_the_last_batch_are_passed_over() -> None:
    whole = pyarrow.parquet.read_table(io.BytesIO(parquet(*NAMES[:3])))
    for rows, count in ((3, 0), (4, 1), (7, 1), (8, 2), (11, 2)):
        columns = {name: whole[name].slice(0, rows) for name in ("label", "img")}
        other = pyarrow.array(["not read"] * rows)
        found = [*parquet_batches(io.BytesIO(table(other=other, **columns)))]
        assert found == [BATCHES[name] for name in NAMES[:count]]


@pytest.mark.usefixtures("small")
def test_a_column_that_is_not_needed_may_be_damaged() -> None:
    whole = pyarrow.parquet.read_table(io.BytesIO(parquet(NAMES[0])))
    content = bytearray(table(other=["not read"] * 4, img=whole["img"], label=whole["label"]))
    content[4:12] = b"\xff" * 8
    with pytest.raises(OSError, match="Couldn't deserialize"):
        pyarrow.parquet.read_table(io.BytesIO(content), columns=["other"])
    assert [*parquet_batches(io.BytesIO(content))] == [BATCHES[NAMES[0]]]


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        (
            {"image": pictures(1), "label": [0]},
            "column img: none; expected struct<bytes: binary, path: string>",
        ),
        ({"img": pictures(1)}, "column label: none; expected int64"),
        (
            {"img": [png(np.zeros((32, 32, 3), "u1"))], "label": [0]},
            "column img: binary; expected struct<bytes: binary, path: string>",
        ),
        (
            {"img": pictures(1), "label": pyarrow.array([0], pyarrow.int32())},
            "column label: int32; expected int64",
        ),
        (
            {"img": pyarrow.array([{"bytes": b"", "path": 1}]), "label": [0]},
            "column img: struct<bytes: binary, path: int64>; "
            "expected struct<bytes: binary, path: string>",
        ),
    ],
)
def test_a_column_that_is_missing_or_of_another_type(columns: dict[str, Any], found: str) -> None:
    assert failure(table(**columns)) == found


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        ([0, 10], "label: labels from 0 to 10; allowed are 0 to 9"),
        ([-1, 9], "label: labels from -1 to 9; allowed are 0 to 9"),
        ([0, None], "label: labels are not a list of integers"),
    ],
    ids=str,
)
def test_labels_that_are_refused(labels: list[int | None], found: str) -> None:
    assert failure(table(img=pictures(2), label=labels)) == found


def test_pictures_that_are_refused() -> None:
    wide = png(np.zeros((31, 33, 3), "u1"))
    assert failure(table(img=pictures(1, wide), label=[0])) == (
        "img: a picture of 33 x 31 RGB, not 32 x 32 RGB"
    )
    for missing in ({"bytes": None, "path": "a.png"}, None):
        column = pyarrow.array([missing], TYPE)
        assert failure(table(img=column, label=[0])).startswith("img: not a readable PNG: ")


@pytest.mark.usefixtures("small")
def test_what_comes_before_a_damaged_picture_is_given() -> None:
    name = NAMES[1]
    rows = pyarrow.parquet.read_table(io.BytesIO(parquet(name)))["img"].to_pylist()
    bad = {"bytes": b"x", "path": ""}
    content = table(img=pyarrow.array([*rows, bad], TYPE), label=[*LABELS[name], 0])
    assert failure(content, [BATCHES[name]]).startswith("img: not a readable PNG: ")


def test_no_more_rows_are_read_than_cifar_10_has() -> None:
    nothing = pyarrow.nulls(60_001, TYPE)
    labels = pyarrow.array(np.zeros(60_001, "i8"))
    assert failure(table(img=nothing, label=labels)) == "more than 60000 rows or 368760000 bytes"
    # So many are allowed, which the first of them shows.
    allowed = table(img=nothing[1:], label=labels[1:])
    assert failure(allowed).startswith("img: not a readable PNG: ")


@pytest.mark.usefixtures("small")
def test_no_more_bytes_are_read_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    content = parquet(NAMES[0], rows_a_group=3)
    metadata = pyarrow.parquet.read_metadata(io.BytesIO(content))
    assert metadata.num_row_groups == 2
    size = sum(metadata.row_group(index).total_byte_size for index in range(2))
    monkeypatch.setattr("stages.fetch.parquet.MAXIMUM_BYTES", size)
    assert [*parquet_batches(io.BytesIO(content))] == [BATCHES[NAMES[0]]]
    monkeypatch.setattr("stages.fetch.parquet.MAXIMUM_BYTES", size - 1)
    assert failure(content) == f"more than 60000 rows or {size - 1} bytes"


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    "where", [-1, -5, -8, 4, 12], ids=["end", "size", "footer", "page", "compressed data"]
)
def test_a_damaged_file_is_refused(tmp_path: Path, where: int) -> None:
    """What pyarrow says of it is said."""
    content = bytearray(parquet(*NAMES[:2], rows_a_group=8))
    content[where] ^= 255
    path = tmp_path / "archive"
    path.write_bytes(content)
    with pytest.raises((pyarrow.ArrowException, OSError)) as error:
        pyarrow.parquet.ParquetFile(path).read()
    said = " ".join(str(error.value).split())
    kind = "not readable" if isinstance(error.value, OSError) else "damaged Parquet file"
    with pytest.raises(SourceError) as refusal:
        [*batches(path)]
    assert " ".join(str(refusal.value).split()) == f"{kind}: {said}"
