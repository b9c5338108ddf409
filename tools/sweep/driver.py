"""The sweep itself: starts trials, says what comes of each, and in the end which were the best."""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

import pandas as pd
from filelock import FileLock, Timeout
from optuna.trial import TrialState
from tqdm import tqdm

from stages.errors import InputError, Interrupted
from tools.sweep import repository, space, trial
from tools.sweep.search import FOLDER, Search, digest, experiment
from tools.sweep.space import Values, as_overrides, written
from tools.sweep.trial import Source

TRIALS = 20  # Where no grid says how many.
BEST = 5


def sweep(arguments: argparse.Namespace) -> int:
    """Run what is left of a sweep and return the exit code: 1 where a trial failed.

    Raises:
        InputError: an argument, the repository or the cluster is not as it must be.
    """
    spanned = space.parse(arguments.overrides)
    method = arguments.search or ("tpe" if space.has_intervals(spanned) else "grid")
    planned: list[Values] = []
    if method == "grid":
        planned = space.grid(spanned)[: arguments.trials]
    elif method == "random":
        planned = space.random(spanned, arguments.trials or TRIALS, arguments.seed)
    # With another number of trials, the same sweep goes on.
    facts = ("overrides", "targets", "metric", "minimize", "seed")
    given = [getattr(arguments, fact) for fact in facts]
    name = f"sweep-{digest(repository.revision(), method, *given)}"
    remote = arguments.remote if arguments.address else None
    source = repository.source(name, remote, tuple(arguments.targets), arguments.metric)
    known = repository.experiments(arguments.metric)
    if arguments.only is not None:
        return alone(source, name, planned, known, arguments)
    count = len(planned) or arguments.trials or TRIALS
    with this_one_alone(name):
        search = Search(name, spanned, planned, count, arguments.seed, arguments.minimize)
        ends = together(source, search, known, arguments)
    counted = [f"{ends[what]} {what}" for what in ("done", "pruned", "failed") if ends[what]]
    print(", ".join(counted) or "nothing left to try")
    best = search.best(BEST)
    if best:
        rows = [
            {arguments.metric: value, "experiment": trial_name}
            | {key: written(value) for key, value in values.items()}
            for trial_name, value, values in best
        ]
        fixed = [key for key, values in spanned.items() if values.single()]
        print(pd.DataFrame(rows).drop(columns=fixed).to_string(index=False))
        print(f"`dvc exp apply {best[0][0]}` brings the best one into the workspace")
    return int(ends["failed"] > 0)


@contextmanager
def this_one_alone(name: str) -> Iterator[None]:
    """Raise an InputError where the same sweep runs in this repository already."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    lock = FileLock(FOLDER / f"{name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(f"{FOLDER / name}: the same sweep is running; wait for its end") from None
    try:
        yield
    finally:
        lock.release()


def alone(
    source: Source,
    name: str,
    planned: list[Values],
    known: dict[str, float],
    arguments: argparse.Namespace,
) -> int:
    """Run one trial, unless its experiment is known; return the exit code.

    Raises:
        InputError: there is no trial of that number.
    """
    if not planned:
        raise InputError("--only: tpe chooses by earlier trials; allowed are --search grid, random")
    if not 0 <= arguments.only < len(planned):
        raise InputError(f"--only {arguments.only}: allowed is 0 to {len(planned) - 1}")
    values = planned[arguments.only]
    name, overrides = experiment(name, values), as_overrides(values)
    outcome: float | str
    if name in known:
        outcome = known[name]
    else:
        outcome = trial.attempt(source, name, overrides, arguments.metric, 0, None)
    print(line(name, overrides, outcome))
    return int(isinstance(outcome, str))


def together(
    source: Source, search: Search, known: dict[str, float], arguments: argparse.Namespace
) -> Counter[str]:
    """Run all trials that are left, as many at once as fit; return how many ended in which way."""
    # Ray, which takes two seconds to import.
    from tools.sweep import cluster

    ends: Counter[str] = Counter()
    shown = sys.stdout
    # Where a machine is lost, Ray prints its log.
    with (
        open(os.devnull, "w") as nothing,
        redirect_stdout(nothing),
        cluster.connected(arguments.address),
        cluster.signals_kept() as signals,
    ):
        needed = cluster.needs(arguments.cpus, arguments.gpus)
        running = cluster.Running(source, arguments.metric, needed, arguments.prune)
        done = search.count - search.left
        bar = tqdm(total=search.count, initial=done, unit="trial", dynamic_ncols=True)

        def end(name: str, outcome: float | str | None) -> None:
            """Tell of a trial's end: its metric, why it failed, or None, that it was given up."""
            if isinstance(outcome, float) and arguments.address and name not in known:
                try:
                    repository.pull(arguments.remote, name)
                except InputError as error:
                    outcome = str(error)
            bar.clear()
            print(line(name, search.overrides(name), outcome), file=shown, flush=True)
            value, state, what = None, TrialState.PRUNED, "pruned"
            if isinstance(outcome, str):
                state, what = TrialState.FAIL, "failed"
            elif outcome is not None:
                value, state, what = outcome, TrialState.COMPLETE, "done"
                # The estimator may choose the same values again.
                known[name] = outcome
            search.end(name, value, state)
            ends[what] += 1
            bar.update()
            for _, value, values in search.best(1):
                bar.set_postfix_str(f"best {value:g}: {' '.join(as_overrides(values))}")

        try:
            while True:
                while not running.is_full() and (name := search.start()):
                    if name in known:
                        end(name, known[name])
                    else:
                        running.start(name, search.overrides(name))
                if not running.tasks:
                    return ends
                if signals:
                    raise Interrupted(signals[0])
                for name, outcome in running.ended():
                    end(name, outcome)
                for name, epoch, row in running.epochs():
                    if search.should_prune(name, epoch, metric_of(row, arguments.metric)):
                        running.stop(name)
                        end(name, None)
        finally:
            running.stop()
            bar.close()


def metric_of(row: dict[str, float], metric: str) -> float:
    """Return the metric in an epoch's row of the history; raise an InputError where it has none."""
    if metric not in row:
        raise InputError(
            f"--prune: no {metric} without validation images, "
            "params.yaml: preprocess.validation_split = 0; allowed is more than 0"
        )
    return row[metric]


def line(name: str, overrides: list[str], outcome: float | str | None) -> str:
    """Return what became of a trial: its metric, why it failed, or None, that it was given up."""
    what = {str: "failed", float: f"{outcome}", type(None): "pruned"}[type(outcome)]
    why = f": {outcome}" if isinstance(outcome, str) else ""
    return f"{what:8}  {' '.join(overrides)}  ({name}){why}"
