"""What the keys of recipes may hold, written down a second time, by hand."""

import math
from typing import Any, NamedTuple

NEARLY_0, NEARLY_1, ABOVE_1 = 5e-324, 1 - 2**-53, 1 + 2**-52
NAN, INFINITY = math.nan, math.inf
INTEGER, NUMBER = "should be a valid integer", "should be a valid number"
FINITE, LIST = "should be a finite number", "should be a valid list"
ORDER = "each should be greater than the one before"
DEPTH = "allowed are 6 n + 2, for example 8, 14, 20, 32, 44, 56 and 110"


class Values(NamedTuple):
    """What a key may hold."""

    # The smallest and the largest, or all of them.
    allowed: tuple[Any, ...]
    # Those just outside and of other types, and what the line that refuses them says after the key
    # and the value; where an item of a list is to blame, from its number on.
    refused: tuple[tuple[Any, str], ...]
    # What the comment in params.yaml says of it.
    comment: str


class Key(NamedTuple):
    """A key of a part."""

    # What it is where it is left out; None also where null is a value.
    default: Any
    values: Values


def least(number: object) -> str:
    return f"should be greater than or equal to {number}"


def most(number: object) -> str:
    return f"should be less than or equal to {number}"


NO_INTEGER = tuple((value, INTEGER) for value in (1.0, True, "1", [1], None))
NO_NUMBER = (
    *((value, NUMBER) for value in (True, "1", [1.0], None)),
    *((value, FINITE) for value in (NAN, INFINITY, -INFINITY)),
)


def integers(low: int, high: int, comment: str) -> Values:
    """Return that a key holds an integer from `low` to `high`."""
    outside = (low - 1, least(low)), (high + 1, most(high))
    return Values((low, high), outside + NO_INTEGER, comment)


def numbers(*refused: tuple[float, str], allowed: tuple[float, ...], comment: str) -> Values:
    """Return that a key holds a number."""
    return Values(allowed, refused + NO_NUMBER, comment)


def or_null(values: Values) -> Values:
    """Return that a key may hold null as well."""
    refused = tuple(pair for pair in values.refused if pair[0] is not None)
    return Values((*values.allowed, None), refused, values.comment)


def choice(*allowed: str, says: str, comment: str) -> Values:
    """Return that a key holds one of a few words."""
    wrong = (allowed[0].upper(), "", True, 0, None, [allowed[0]])
    return Values(allowed, tuple((value, f"should be {says}") for value in wrong), comment)


def share(key: str) -> Values:
    """Return that a key holds what is never all."""
    outside = (-NEARLY_0, least(0)), (1.0, "should be less than 1")
    return numbers(*outside, allowed=(0, 0.0, NEARLY_1), comment=f"0 <= {key} < 1")


def part(key: str) -> Values:
    """Return that a key holds what is never nothing."""
    outside = (0.0, "should be greater than 0"), (ABOVE_1, most(1))
    return numbers(*outside, allowed=(NEARLY_0, 1, 1.0), comment=f"0 < {key} <= 1")


# The largest number that TensorFlow takes, and the next one.
LARGEST = ((1.0000000000000002e30, most(10**30)), (10**400, NUMBER))
POSITIVE = numbers(
    (0.0, "should be greater than 0"), *LARGEST, allowed=(NEARLY_0, 1, 1e30), comment="> 0"
)
NOT_NEGATIVE = numbers((-NEARLY_0, least(0)), *LARGEST, allowed=(0, 0.0, 1e30), comment=">= 0")
FRACTION = numbers(
    (-NEARLY_0, least(0)), (ABOVE_1, most(1)), allowed=(0, 0.0, 1.0, 1), comment="0 to 1"
)
INSIDE = numbers(
    (0.0, "should be greater than 0"),
    (1.0, "should be less than 1"),
    allowed=(NEARLY_0, NEARLY_1),
    comment="0 < factor < 1",
)
COUNT = integers(1, 100_000, ">= 1")
COUNT_OR_NONE = integers(0, 100_000, ">= 0")
BATCH_SIZE = integers(1, 50_000, "1 to 50000")
TRUTH = Values(
    (True, False), tuple((v, "should be a valid boolean") for v in (1, "true", None)), "whether"
)
NO_LIST: tuple[tuple[Any, str], ...] = ((3, LIST), ("12", LIST), (None, LIST), ({}, LIST))


def too_few(least: int, found: int) -> str:
    items = "item" if least == 1 else "items"
    return f"List should have at least {least} {items} after validation, not {found}"


def too_many(most: int, found: int) -> str:
    return f"List should have at most {most} items after validation, not {found}"


FILTERS = Values(
    ([1], [100_000] * 100),
    (
        ([], too_few(1, 0)),
        ([1] * 101, too_many(100, 101)),
        ([0], f"0 = 0: {least(1)}"),
        ([1, 100_001], f"1 = 100001: {most(100_000)}"),
        ([1, 2, 2.5], f"2 = 2.5: {INTEGER}"),
        *NO_LIST,
    ),
    ">= 1",
)
POOL_AFTER = Values(
    ([], [1], [1, 2, 3, 4, 100_000]),
    (
        ([1, 2, 3, 4, 5, 6], too_many(5, 6)),
        ([2, 1], ORDER),
        ([1, 2, 2], ORDER),
        ([0, 1], f"0 = 0: {least(1)}"),
        ([1, 100_001], f"1 = 100001: {most(100_000)}"),
        ([1, True], f"1 = True: {INTEGER}"),
        *NO_LIST,
    ),
    "counted from 1, at most 5",
)
WIDTHS = Values(
    ([1, 2, 100_000],),
    (
        ([1, 2], too_few(3, 2)),
        ([1, 2, 3, 4], too_many(3, 4)),
        ([1, 0, 3], f"1 = 0: {least(1)}"),
        ([1, 2, 100_001], f"2 = 100001: {most(100_000)}"),
        ([1, 2, 2.5], f"2 = 2.5: {INTEGER}"),
        *NO_LIST,
    ),
    "each >= 1",
)
MILESTONES = Values(
    ([NEARLY_0], [0.5, NEARLY_1], [n / 101 for n in range(1, 101)]),
    (
        ([], too_few(1, 0)),
        ([n / 102 for n in range(1, 102)], too_many(100, 101)),
        ([0.5, 0.25], ORDER),
        ([0.5, 0.5], ORDER),
        ([0.0], "0 = 0.0: should be greater than 0"),
        ([0.5, 1.0], "1 = 1.0: should be less than 1"),
        ([0.5, "1"], f"1 = '1': {NUMBER}"),
        ([NAN], f"0 = nan: {FINITE}"),
        *NO_LIST,
    ),
    "rising, 0 < share < 1",
)
SIX_N_PLUS_TWO = Values(
    (8, 14, 20, 200),
    (
        (2, least(8)),
        (7, least(8)),
        (9, DEPTH),
        (18, DEPTH),
        (21, DEPTH),
        (199, DEPTH),
        (201, most(200)),
        (206, most(200)),
        *NO_INTEGER,
    ),
    "6 n + 2: 8, 14, 20, 32, 44, 56, 110",
)
