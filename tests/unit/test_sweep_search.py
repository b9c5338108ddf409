"""A sweep's trials: their order, what is known of those before, and which one is given up."""

from contextlib import chdir
from pathlib import Path

import pytest
from optuna.trial import TrialState

from tools.sweep.search import Search, digest
from tools.sweep.space import Values, grid, parse

SPACE = parse(["rate=interval(0,1)"])
GRID = parse(["seed=choice(0,1,2)", "epochs=5"])
COMPLETE, PRUNED, FAIL = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> object:
    """Work in a folder of the test's own."""
    with chdir(tmp_path):
        yield


def search(planned: list[Values] | None = None, count: int = 3, minimize: bool = False) -> Search:
    """Return the search of one name."""
    planned = grid(GRID) if planned is None else planned
    return Search("sweep-1", GRID if planned else SPACE, planned, count, seed=0, minimize=minimize)


def run(search: Search, *values: float) -> list[list[str]]:
    """Run one trial for each value; return their overrides."""
    tried = []
    for value in values:
        name = search.start()
        assert name
        tried.append(search.overrides(name))
        search.end(name, value, COMPLETE)
    return tried


def test_a_grid_is_tried_in_its_order_and_once() -> None:
    first = search()
    assert run(first, 0.1, 0.3, 0.2) == [[f"seed={seed}", "epochs=5"] for seed in range(3)]
    assert first.start() is None
    assert first.left == 0
    names = [name for name, _, _ in first.best(5)]
    assert [(value, values["seed"]) for _, value, values in first.best(5)] == [
        (0.3, "1"),
        (0.2, "2"),
        (0.1, "0"),
    ]
    assert first.best(2) == first.best(5)[:2]
    assert names[0] == f"sweep-1-{digest(['seed=1', 'epochs=5'])}"
    # The same command again.
    assert search().start() is None
    assert search().best(5) == first.best(5)


def test_the_greatest_seed_goes_on() -> None:
    for value in (0.1, 0.2):
        assert run(Search("sweep-2", SPACE, [], 5, seed=2**32 - 1), value)


def test_low_may_be_better() -> None:
    first = search(minimize=True)
    run(first, 0.1, 0.3, 0.2)
    assert [value for _, value, _ in first.best(2)] == [0.1, 0.2]


def test_what_was_running_or_failed_is_tried_again() -> None:
    first = search()
    names = [first.start() for _ in range(3)]
    assert all(names)
    first.end(str(names[0]), 0.5, COMPLETE)
    first.end(str(names[1]), None, FAIL)
    second = search()
    assert second.left == 2
    assert {second.start(), second.start()} == {*names[1:]}
    assert second.start() is None
    # Stopped at once, twice.
    assert search().left == search().left == 2
    third = search()
    assert {third.start(), third.start()} == {*names[1:]}


def test_the_estimator_goes_on_with_what_it_knows() -> None:
    first = search([], count=5)
    tried = run(first, 0.1, 0.2)
    running = first.start()
    assert running
    second = search([], count=5)
    assert second.left == 3
    # What was running comes first, then others than those drawn before.
    assert second.start() == running
    assert all(overrides not in tried for overrides in run(second, 0.3, 0.4))
    assert second.start() is None


def test_the_estimator_comes_closer() -> None:
    first = search([], count=60)
    while name := first.start():
        rate = float(first.overrides(name)[0].partition("=")[2])
        first.end(name, -((rate - 0.7) ** 2), COMPLETE)
    tried = [float(str(trial.params["rate"])) for trial in first.study.trials]
    # As one may by chance, too: 30 uniform draws are within 0.1 of 0.7 six times.
    assert sum(abs(rate - 0.7) < 0.1 for rate in tried[30:]) > 15
    assert abs(float(str(first.best(1)[0][2]["rate"])) - 0.7) < 0.02


def test_a_combination_that_runs_is_not_started_again() -> None:
    narrow = parse(["rate=int(interval(1,2))"])
    first = Search("sweep-1", narrow, [], 9, seed=0)
    names = [first.start() for _ in range(9)]
    started = [name for name in names if name]
    assert len(started) == len(set(started)) == 2
    assert names[-1] is None


def test_a_trial_below_the_median_should_prune() -> None:
    first = search([], count=9)
    # Optuna's rule waits for five trials.
    for number in range(5):
        name = first.start()
        assert name
        assert not first.should_prune(name, 1, 0.1 * number)
        assert not first.should_prune(name, 2, 0.1 * number + 0.5)
        first.end(name, 0.1 * number, COMPLETE)
    good, bad = first.start(), first.start()
    assert good
    assert bad
    assert not first.should_prune(good, 1, 0.21)
    assert first.should_prune(bad, 1, 0.19)
    # Told again, as by a trial that is tried again, it changes nothing.
    assert not first.should_prune(bad, 1, 0.19)
    assert not first.should_prune("unknown", 1, 0.0)
    first.end(bad, None, PRUNED)
    assert first.should_prune(good, 2, 0.1)
    first.end(good, None, PRUNED)
    # A pruned trial is one of those that the sweep has.
    assert search([], count=9).left == 2


def test_digests() -> None:
    assert digest("a") == digest("a") != digest("b")
    assert digest(["a", "b"]) != digest(["a"], "b")
    assert len(digest(1)) == 6
