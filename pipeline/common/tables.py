"""The tables in plots/, as CSV: read whole or refused, since Git merges and people edit them."""

from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import pandas as pd
from pydantic import TypeAdapter, ValidationError

from pipeline.common.shell import UserError, one_line


def read_table(
    source: Path | IO[str],
    columns: Mapping[str, Any],
    optional: Mapping[str, Any] | None = None,
    name: str = "",
) -> pd.DataFrame:
    """Return the table in a CSV file.

    Args:
        source: the file.
        columns: those that must be there, and the type of their values, as in config.py.
        optional: those that may be there, likewise.
        name: of the file, for errors; that of its path.

    Returns:
        these columns and no others.

    Raises:
        UserError: it is no table, has no rows, lacks a column, or a value is not allowed; the
            message names the line, the column and what is allowed.
    """
    name = name or f"{source}"
    try:
        # As texts: a class may be called 1 or nan.
        found = pd.read_csv(source, dtype=str, keep_default_na=False, skip_blank_lines=False)
    except FileNotFoundError:
        raise UserError(f"{name}: missing; `dvc repro` makes it") from None
    # Of pandas, and of what is not UTF-8.
    except ValueError as error:
        raise UserError(f"{name}: not a readable CSV file: {one_line(error)}") from None
    for column in columns:
        if column not in found:
            given = one_line(", ".join(found.columns))
            raise UserError(f"{name}: no column {column}; found {given}")
    if found.empty:
        raise UserError(f"{name}: no rows")
    table = pd.DataFrame()
    for column, kind in {**columns, **(optional or {})}.items():
        if column in found:
            try:
                table[column] = TypeAdapter(list[kind]).validate_python(found[column].tolist())  # type: ignore[valid-type]
            except ValidationError as error:
                problem, *_ = error.errors()
                # The header is line 1.
                where = f"line {int(problem['loc'][0]) + 2}, column {column}"
                says = problem["msg"].removeprefix("Input ")
                raise UserError(f"{name}: {where}: {problem['input']!r}: {says}") from None
    return table
