"""The tables in plots/, as CSV: read whole or refused, since Git merges and people edit them."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import TypeAdapter, ValidationError

from pipeline.common.shell import UserError, one_line


def read_table(
    path: Path, columns: Mapping[str, Any], optional: Mapping[str, Any] | None = None
) -> pd.DataFrame:
    """Read a CSV file; see `parse_table`. Columns that are optional may be missing."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: missing; `dvc repro` makes it") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 at byte {error.start}") from None
    return parse_table(text, str(path), columns, optional)


def parse_table(
    text: str, name: str, columns: Mapping[str, Any], optional: Mapping[str, Any] | None = None
) -> pd.DataFrame:
    """Return the table that `text` is as CSV.

    Args:
        text: the content of a file.
        name: of the file, for errors.
        columns: those that must be there, and the type of their values, as in config.py.
        optional: those that may be there, likewise.

    Returns:
        these columns and no others.

    Raises:
        UserError: it is no table, has no rows, lacks a column, or a value is not allowed; the
            message names the line, the column and what is allowed.
    """
    try:
        header, *rows = csv.reader(io.StringIO(text), strict=True)
    except ValueError:
        raise UserError(f"{name}: empty") from None
    except csv.Error as error:
        raise UserError(f"{name}: not a readable CSV file: {one_line(error)}") from None
    for column in columns:
        if column not in header:
            found = one_line(", ".join(header))
            raise UserError(f"{name}: no column {column}; found {found}")
    # The header is line 1.
    for line, row in enumerate(rows, start=2):
        if len(row) != len(header):
            given = ",".join(row)
            raise UserError(f"{name}: line {line}: {given!r}; allowed are {len(header)} fields")
    if not rows:
        raise UserError(f"{name}: no rows")
    table = pd.DataFrame()
    for column, kind in {**columns, **(optional or {})}.items():
        if column in header:
            values = [row[header.index(column)] for row in rows]
            try:
                table[column] = TypeAdapter(list[kind]).validate_python(values)  # type: ignore[valid-type]
            except ValidationError as error:
                problem, *_ = error.errors()
                where = f"line {int(problem['loc'][0]) + 2}, column {column}"
                says = problem["msg"].removeprefix("Input ")
                raise UserError(f"{name}: {where}: {problem['input']!r}: {says}") from None
    return table
