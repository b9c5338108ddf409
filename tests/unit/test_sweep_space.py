"""The values that `-S` names, as DVC itself reads them, and their combinations."""

from itertools import pairwise

import pytest
from dvc.utils.hydra import get_hydra_sweeps

from stages.errors import InputError
from tools.sweep.space import Values, as_overrides, grid, has_intervals, parse, random

GRIDS = [
    ["seed=choice(0,1,2)"],
    ["seed=0,1"],
    ["epochs=range(1,10,3)", "seed=choice(4,3)"],
    ["recipe=tutorial", "seed=range(3)"],
    ["rate=choice(1e-3,0.01)", "name='a b',null", "widths=[1,2],[3,4]"],
    ["flip=true,false"],
]


@pytest.mark.parametrize("overrides", GRIDS)
def test_the_grid_is_that_of_dvc(overrides: list[str]) -> None:
    expected = [sweep["params.yaml"] for sweep in get_hydra_sweeps({"params.yaml": overrides})]
    assert [as_overrides(values) for values in grid(parse(overrides))] == expected


def test_drawn_numbers_are_written_with_four_digits() -> None:
    values: Values = {"a": 0.17117789, "b": 1e-5 / 3, "c": 12, "d": "1.23456", "e": 1.0}
    expected = ["a=0.1712", "b=3.333e-06", "c=12", "d=1.23456", "e=1"]
    assert as_overrides(values) == expected


def test_a_value_named_twice_is_tried_once() -> None:
    assert [values["seed"] for values in grid(parse(["seed=1,2,1"]))] == ["1", "2"]


def test_intervals() -> None:
    space = parse(["rate=interval(0.5,2)", "epochs=int(interval(2,4))", "seed=1,2"])
    assert has_intervals(space)
    assert not has_intervals(parse(["seed=1,2", "epochs=3"]))
    drawn = random(space, 200, seed=3)
    assert len(drawn) == 200
    assert drawn[:5] == random(space, 5, seed=3) != random(space, 5, seed=4)
    assert {values["epochs"] for values in drawn} == {2, 3, 4}
    assert {values["seed"] for values in drawn} == {"1", "2"}
    rates = sorted(float(str(values["rate"])) for values in drawn)
    assert 0.5 <= rates[0] < 0.55
    assert 1.95 < rates[-1] <= 2
    # Uniform: as many below the middle as above it, give or take four standard deviations.
    assert 72 <= sum(rate < 1.25 for rate in rates) <= 128


def test_a_combination_is_drawn_once() -> None:
    """A small space is drawn whole."""
    drawn = random(parse(["seed=choice(0,1,2)"]), 20, seed=0)
    assert sorted(str(values["seed"]) for values in drawn) == ["0", "1", "2"]


def test_logarithmic_interval() -> None:
    rates = sorted(
        float(str(values["rate"]))
        for values in random(parse(["rate=tag(log,interval(0.001,10))"]), 400, seed=0)
    )
    for low, high in pairwise((0.001, 0.01, 0.1, 1, 10)):
        assert 60 <= sum(low <= rate < high for rate in rates) <= 140
    epochs = [
        int(str(values["epochs"]))
        for values in random(parse(["epochs=int(tag(log,interval(1000,64000)))"]), 300, seed=0)
    ]
    assert 100 <= sum(epoch <= 8000 for epoch in epochs) <= 200


def test_the_same_seed_draws_the_same() -> None:
    space = parse(["rate=interval(0,1)"])
    assert random(space, 5, seed=1) == random(space, 9, seed=1)[:5]
    assert random(space, 5, seed=1) != random(space, 5, seed=2)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("seed", "missing EQUAL at '<EOF>'"),
        ("seed=choice(1", "-S seed=choice(1: "),
        ("+seed=1", "adds or deletes a key"),
        ("~seed", "adds or deletes a key"),
        ("~seed=1", "adds or deletes a key"),
        ("seed=glob(*)", "-S seed=glob(*): "),
        ("rate=interval(2,1)", "-S rate=interval(2,1): "),
        ("rate=tag(log,interval(0,1))", "-S rate=tag(log,interval(0,1)): "),
    ],
)
def test_what_cannot_be_swept_is_refused(override: str, says: str) -> None:
    with pytest.raises(InputError) as refused:
        parse([override])
    text = str(refused.value)
    assert says in text
    assert text.startswith(f"-S {override}: ")
    assert text.endswith(
        "; allowed are KEY=VALUE, KEY=choice(A,B), KEY=range(FROM,TO,STEP), KEY=interval(FROM,TO)"
    )
    assert "\n" not in text


def test_a_key_named_twice_is_refused() -> None:
    with pytest.raises(InputError, match=r"^-S seed=2: the key was named before; allowed is once$"):
        parse(["seed=1", "seed=2"])


def test_an_interval_has_no_grid() -> None:
    with pytest.raises(
        InputError, match=r"^-S rate: an interval has no grid; allowed are --search random, tpe$"
    ):
        grid(parse(["seed=1,2", "rate=interval(0,1)"]))
