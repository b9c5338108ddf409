"""CIFAR-10 as Parquet: a column of PNG images and one of labels, as Hugging Face keeps it."""

from collections.abc import Iterator
from typing import IO

import numpy as np
import pyarrow
import pyarrow.parquet

from stages.cifar10 import BATCH_BYTES, RECORDS, SIDE, TRAIN_BATCHES, encode
from stages.fetch.pictures import check_labels, decode_png
from stages.fetch.transfer import SourceError

MAXIMUM_ROWS = RECORDS * (len(TRAIN_BATCHES) + 1)
MAXIMUM_BYTES = BATCH_BYTES * (len(TRAIN_BATCHES) + 1) * 2
COLUMNS = {
    "img": pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())]),
    "label": pyarrow.int64(),
}


def parquet_batches(file: IO[bytes]) -> Iterator[bytes]:
    """Return each run of 10,000 rows as a batch file; rows beyond the last full run are ignored.

    Raises:
        SourceError: the file is damaged or too large, a column is missing or of another type.
    """
    try:
        table = pyarrow.parquet.ParquetFile(file)
        check_columns(table.schema_arrow)
        groups = [table.metadata.row_group(index) for index in range(table.num_row_groups)]
        if (
            table.metadata.num_rows > MAXIMUM_ROWS
            or sum(group.total_byte_size for group in groups) > MAXIMUM_BYTES
        ):
            raise SourceError(f"more than {MAXIMUM_ROWS} rows or {MAXIMUM_BYTES} bytes")
        images = np.empty((RECORDS, SIDE, SIDE, 3), np.uint8)
        labels = np.empty(RECORDS, np.uint8)
        filled = 0
        for rows in table.iter_batches(batch_size=RECORDS, columns=list(COLUMNS)):
            column = check_labels(rows.column("label").to_numpy(zero_copy_only=False), "label")
            for image, label in zip(rows.column("img").field("bytes"), column, strict=True):
                images[filled] = decode_png(image.as_py() or b"", (SIDE, SIDE), "img")
                labels[filled] = label
                filled += 1
                if filled == RECORDS:
                    yield encode(images, labels)
                    filled = 0
    except pyarrow.ArrowException as error:
        raise SourceError(f"damaged Parquet file: {' '.join(str(error).split())}") from None


def check_columns(schema: pyarrow.Schema) -> None:
    """Raise a SourceError where a column that is read is missing or of another type."""
    for name, expected in COLUMNS.items():
        index = schema.get_field_index(name)
        found = schema.field(index).type if index >= 0 else "none"
        if found != expected:
            raise SourceError(f"column {name}: {found}; expected {expected}")
