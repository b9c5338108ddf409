"""The tables in plots/: what is read, and the one line that refuses the rest."""

import io
from pathlib import Path

import numpy as np
import pytest

from stages.errors import InputError
from stages.tables import PREDICTIONS, parse_table, read_table

HEADER = "index,actual,predicted,confidence\n"
TABLE = f"{HEADER}0,cat,cat,0.5\n1,ship,frog,0.25\n"
PARSER = "not a readable CSV file: Error tokenizing data. C error: "
WHOLE = "allowed is a whole number"
FINITE = "allowed is a finite number"
CLASS = "allowed is airplane, automobile, bird, cat, deer, dog, frog, horse, ship, truck"


def test_columns_have_their_types_and_rows_their_order() -> None:
    table = parse_table(TABLE, "table.csv", PREDICTIONS)
    assert table.to_dict("records") == [
        {"index": 0, "actual": "cat", "predicted": "cat", "confidence": 0.5},
        {"index": 1, "actual": "ship", "predicted": "frog", "confidence": 0.25},
    ]
    assert table["index"].dtype == np.int64
    assert table["confidence"].dtype == np.float64


def test_other_columns_are_left_as_texts() -> None:
    table = parse_table("note,epoch,loss\nNA,1,2\n,2.0,1e-3\n", "h.csv", {"epoch": int})
    assert table.to_dict("list") == {"note": ["NA", ""], "epoch": [1, 2], "loss": ["2", "1e-3"]}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not a readable CSV file: No columns to parse from file"),
        (HEADER, "no rows"),
        (
            TABLE.replace("actual", "re\tal"),
            "no column actual; found index, re al, predicted, confidence",
        ),
        (f"<<<<<<< HEAD\n{TABLE}", "no column index; found <<<<<<< HEAD"),
        (f"{TABLE}=======\n", f"line 4, column index: '======='; {WHOLE}"),
        (TABLE.replace("ship", "\x07"), f"line 3, column actual: '\\x07'; {CLASS}"),
        (TABLE.replace("frog", "whale"), f"line 3, column predicted: 'whale'; {CLASS}"),
        (TABLE.replace("frog", "Frog"), f"line 3, column predicted: 'Frog'; {CLASS}"),
        (TABLE.replace("frog", "NA"), f"line 3, column predicted: 'NA'; {CLASS}"),
        (TABLE.replace("0.25", ""), f"line 3, column confidence: ''; {FINITE}"),
        (TABLE.replace("0.5", "nan"), f"line 2, column confidence: 'nan'; {FINITE}"),
        (TABLE.replace("0.25", "-inf"), f"line 3, column confidence: '-inf'; {FINITE}"),
        (TABLE.replace("1,", "1.5,"), f"line 3, column index: '1.5'; {WHOLE}"),
        (TABLE.replace("1,", "1e300,"), f"line 3, column index: '1e300'; {WHOLE}"),
        (f"{TABLE}\n", f"line 4, column index: ''; {WHOLE}"),
        (f"{TABLE}2,cat,cat,0.5,6\n", f"{PARSER}Expected 4 fields in line 4, saw 5"),
        (f'{TABLE}"', f"{PARSER}EOF inside string starting at row 3"),
        (
            TABLE.replace("0.5", "0.5,").replace("0.25", "0.25,"),
            "its rows have more fields than its first line",
        ),
        # Of several mistakes, that of the first column, and there of the first row.
        (
            f"{HEADER}0,cat,x,y\n1,eel,cat,1\n2,gnu,cat,1\n",
            f"line 3, column actual: 'eel'; {CLASS}",
        ),
    ],
)
def test_damaged_table(text: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_table(text, "plots/predictions.csv", PREDICTIONS)
    assert str(caught.value) == f"plots/predictions.csv: {says}"


# The largest below 10 to the power of 18 that a float can be.
BELOW = "999999999999999872"


@pytest.mark.parametrize("sign", ["", "-"])
@pytest.mark.parametrize("kind", [int, float])
def test_largest_number(sign: str, kind: type) -> None:
    table = parse_table(f"epoch\n{sign}{BELOW}\n", "h.csv", {"epoch": kind})
    assert table["epoch"].tolist() == [kind(sign + BELOW)]


@pytest.mark.parametrize("kind", [int, float])
@pytest.mark.parametrize(
    "number", ["1000000000000000000", "-1e18", "1e400", "-9223372036854775808", "9" * 400]
)
def test_number_too_large(number: str, kind: type) -> None:
    with pytest.raises(InputError) as caught:
        parse_table(f"epoch\n1\n{number}\n", "h.csv", {"epoch": kind})
    allowed = WHOLE if kind is int else FINITE
    assert str(caught.value) == f"h.csv: line 3, column epoch: '{number}'; {allowed}"


def test_file_is_utf_8_wherever_it_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What Python takes where no encoding is named and the locale's is ASCII.
    monkeypatch.setattr(io, "text_encoding", lambda encoding, level=2: encoding or "ascii")
    Path("plots").mkdir()
    path = Path("plots/table.csv")
    path.write_bytes("größe,epoch\nä,3\n".encode())
    assert read_table(path, {"epoch": int}).to_dict("list") == {"größe": ["ä"], "epoch": [3]}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "missing; `dvc repro` makes it"),
        (b"epoch\n1\n\xff\n", "not UTF-8 at byte 8"),
        (b"loss\n1\n", "no column epoch; found loss"),
    ],
)
def test_file_that_is_no_table(folder: Path, content: bytes | None, says: str) -> None:
    path = Path("history.csv")
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_table(path, {"epoch": int})
    assert str(caught.value) == f"history.csv: {says}"
