"""The tables in plots/: what is read, and the one line that refuses the rest."""

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from pipeline.common.shell import UserError
from pipeline.common.tables import read_table

PATH = Path("table.csv")
COLUMNS = {
    "index": Annotated[int, Field(ge=0, lt=9)],
    "actual": Literal["cat", "ship"],
    "confidence": Annotated[float, Field(ge=0, le=1)],
}
HEADER = "index,größe,actual,confidence\n"
TABLE = f"{HEADER}0,,cat,0.5\n1,ä,ship,2.5e-1\n"


def test_columns_have_their_types_and_rows_their_order(folder: Path) -> None:
    PATH.write_bytes(TABLE.replace("\n", "\r\n").encode())
    optional = {"größe": str, "val_loss": float}
    found = read_table(PATH, COLUMNS, optional).to_dict("list")
    expected = {"index": [0, 1], "actual": ["cat", "ship"], "confidence": [0.5, 0.25]}
    assert found == expected | {"größe": ["", "ä"]}
    assert read_table(PATH, COLUMNS).to_dict("list") == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "missing; `dvc repro` makes it"),
        (HEADER, "no rows"),
        (f"{TABLE}\udcff", "not a readable CSV file: 'utf-8' codec"),
        (TABLE.replace("actual", "re\tal"), "no column actual; found index, größe, re al, conf"),
        (f"{TABLE}=======\n", "line 4, column index: '=======': "),
        (f'{TABLE}"', "not a readable CSV file: "),
        (TABLE.replace("ship", "\x07"), r"line 3, column actual: '\x07': should be 'cat' or 'sh"),
        # Of several mistakes, that of the first column, and there of the first row.
        (f"{HEADER}0,,cat,x\n1,,eel,1\n2,,gnu,1\n", "line 3, column actual: 'eel'"),
    ],
)
def test_a_damaged_table_is_refused(folder: Path, text: str | None, says: str) -> None:
    if text is not None:
        PATH.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UserError) as caught:
        read_table(PATH, COLUMNS)
    assert str(caught.value).startswith(f"table.csv: {says}")
    assert "\n" not in str(caught.value)
