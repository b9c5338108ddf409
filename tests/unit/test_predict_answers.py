"""What the model takes pictures for, as a table and as text."""

import os
from pathlib import Path

import numpy as np
import pytest

from stages.cifar10 import CLASSES
from tools.predict.answers import as_text, on_one_line, table

# The likeliest are dog, then cat; then cat and dog alike, then airplane.
PROBABILITIES = np.array(
    [
        [0, 0, 0, 0.25, 0, 0.625, 0, 0, 0, 0.125],
        [0.125, 0, 0, 0.4375, 0, 0.4375, 0, 0, 0, 0],
    ],
    np.float32,
)
PATHS = [Path("a/long.png"), Path("b.png")]


def test_a_table_by_hand() -> None:
    rows = table(PATHS, PROBABILITIES, 3)
    assert rows.columns.to_list() == ["file", "rank", "class", "probability"]
    assert rows.index.to_list() == [*range(6)]
    assert rows.to_numpy().tolist() == [
        ["a/long.png", 1, "dog", 0.625],
        ["a/long.png", 2, "cat", 0.25],
        ["a/long.png", 3, "truck", 0.125],
        ["b.png", 1, "cat", 0.4375],
        ["b.png", 2, "dog", 0.4375],
        ["b.png", 3, "airplane", 0.125],
    ]


def test_classes_that_are_alike_keep_their_order() -> None:
    """Also where several are, which processors sort in ways of their own.

    The classes are in the order of their names.
    """
    probabilities = np.random.default_rng(0).integers(0, 4, (20, 10)).astype(np.float32) / 15
    rows = table([Path("a.png")] * 20, probabilities, 10)
    pairs = [sorted(zip(-shares, CLASSES, strict=True)) for shares in probabilities]
    expected = [[name for _, name in row] for row in pairs]
    assert rows["class"].to_numpy().reshape(20, 10).tolist() == expected
    assert rows["rank"].to_list() == [*range(1, 11)] * 20


@pytest.mark.parametrize(
    ("top", "expected"),
    [
        (1, "a/long.png  dog         62.5%\nb.png       cat         43.8%"),
        (
            2,
            "a/long.png  dog         62.5%  cat         25.0%\n"
            "b.png       cat         43.8%  dog         43.8%",
        ),
    ],
)
def test_text_by_hand(top: int, expected: str) -> None:
    assert as_text(table(PATHS, PROBABILITIES, top), top) == expected


def test_the_widest_class_and_share() -> None:
    sure = np.eye(10, dtype=np.float32)[[1, 4]]
    text = as_text(table([Path("é.png"), Path("b.png")], sure, 1), 1)
    assert text == "é.png  automobile 100.0%\nb.png  deer       100.0%"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("new\nline\r.png", "new\\nline\\r.png"),
        ("\x1b[31m\t\x00\x7f\x85.png", "\\x1b[31m\\t\\x00\\x7f\\x85.png"),
        ("中文 é'\\.png", "中文 é'\\.png"),
        (os.fsdecode(b"\xe9.png"), "\udce9.png"),
    ],
)
def test_what_steers_a_terminal_is_escaped(name: str, expected: str) -> None:
    assert on_one_line(name) == expected
    text = as_text(table([Path(name), Path("a")], PROBABILITIES, 1), 1)
    # As wide as what is shown.
    assert text.splitlines()[1] == f"a{' ' * len(expected)} cat         43.8%"
    assert text.startswith(f"{expected}  dog ")


def test_a_name_that_is_not_utf_8_is_kept() -> None:
    rows = table([Path(os.fsdecode(b"\xe9.png"))], PROBABILITIES[:1], 2)
    assert rows["file"].to_list() == ["\udce9.png"] * 2
