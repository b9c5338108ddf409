"""The tables in plots/, as CSV: read whole or refused, since Git merges and people edit them."""

import io
from pathlib import Path

import pandas as pd

from stages.cifar10 import CLASSES
from stages.errors import InputError, in_one_line

# What a column may hold: a finite number, a whole number, the name of a class.
ALLOWED = {float: "a finite number", int: "a whole number", str: ", ".join(CLASSES)}
# No figure has a scale for more, and no 64-bit integer holds much more.
LARGEST = 1e18
PREDICTIONS = {"index": int, "actual": str, "predicted": str, "confidence": float}


def read_table(path: Path, columns: dict[str, type]) -> pd.DataFrame:
    """Read a CSV file; see `parse_table`."""
    try:
        return parse_table(path.read_text(encoding="utf-8"), str(path), columns)
    except FileNotFoundError:
        raise InputError(f"{path}: missing; `dvc repro` makes it") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start}") from None


def parse_table(text: str, name: str, columns: dict[str, type]) -> pd.DataFrame:
    """Return the table that `text` is as CSV.

    Args:
        text: the content of a file.
        name: of the file, for errors.
        columns: those that must be there, and of which type; one of type str holds classes.

    Raises:
        InputError: it is no table, has no rows, lacks a column, or a value is not allowed; the
            message names the line, the column and what is allowed.
    """
    try:
        table = pd.read_csv(
            io.StringIO(text), dtype=str, keep_default_na=False, skip_blank_lines=False
        )
    except ValueError as error:
        raise InputError(f"{name}: not a readable CSV file: {in_one_line(error)}") from None
    for column in columns:
        if column not in table:
            found = in_one_line(", ".join(map(str, table.columns)))
            raise InputError(f"{name}: no column {column}; found {found}")
    # Of rows with more fields than the header, pandas takes the first for names.
    if not isinstance(table.index, pd.RangeIndex):
        raise InputError(f"{name}: its rows have more fields than its first line")
    for column, kind in columns.items():
        given = table[column]
        if kind is str:
            is_allowed = given.isin(CLASSES)
        else:
            numbers = pd.to_numeric(given, errors="coerce")
            is_allowed = numbers.between(-LARGEST, LARGEST, inclusive="neither")
            if kind is int:
                is_allowed &= numbers % 1 == 0
        if not is_allowed.all():
            row = int(is_allowed.argmin())
            # The header is line 1.
            where = f"line {row + 2}, column {column}"
            raise InputError(f"{name}: {where}: {given[row]!r}; allowed is {ALLOWED[kind]}")
        if kind is not str:
            table[column] = numbers.astype(kind)
    if table.empty:
        raise InputError(f"{name}: no rows")
    return table
