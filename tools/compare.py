"""Tell whether one model, or one setting, is better than another.

`python -m tools.compare HEAD` compares the last commit with the workspace. A revision is whatever
DVC takes for one: a commit, a tag, a branch, the name of an experiment, `workspace`.

A setting is several trainings that differ by the seed alone: revisions with commas between them, or
KEY=VALUE, the last commit's experiments with this value of a parameter, all others as committed.
"""

import argparse
import math
import subprocess
import sys
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import yaml
from dvc.repo import Repo
from dvc.repo.brancher import switch
from scipy.stats import binomtest, norm, t

from pipeline.common.paths import PARAMS, PREDICTIONS
from pipeline.common.shell import UserError, one_line, run
from pipeline.common.tables import parse_table
from pipeline.evaluation.metrics import accuracy_with_interval
from tools.experiments import trainings

# Of other revisions, nothing says which classes there are.
COLUMNS = {"index": int, "actual": str, "predicted": str}
LEVEL = 0.05
SEEDS_AT_ONCE = 3


def outdated(repo: Repo) -> set[str]:
    """Return the files that, by DVC's lock, were made from others than those beside them.

    Where an experiment has trained and not evaluated, these are the test results and figures of
    the commit that it started from.
    """
    try:
        # From the root, wherever in the project this runs.
        lock = yaml.safe_load(repo.dvcfs.read_text("/dvc.lock"))
    except FileNotFoundError:
        return set()
    stages = [*lock["stages"].values()]
    made = {out["path"]: out.get("md5") for stage in stages for out in stage.get("outs", ())}
    found: set[str] = set()
    # What is made from them is outdated as well; no chain is longer than there are stages.
    for _ in stages:
        for stage in stages:
            deps = {dep["path"]: dep.get("md5") for dep in stage.get("deps", ())}
            if any(path in found or made.get(path, md5) != md5 for path, md5 in deps.items()):
                found |= {out["path"] for out in stage.get("outs", ())}
    return found


@dataclass(frozen=True)
class Setting:
    """Trainings that differ by the seed alone."""

    seeds: list[Any]
    right: pd.DataFrame  # Whether it is right, bool: a test image a row, a training a column.


class Verdict(NamedTuple):
    """Which setting is better, in words, and the interval of how much the second one is."""

    told: str
    low: float
    high: float


def setting(text: str, seeds_below: float = math.inf) -> Setting:
    """Return what a revision, several, or KEY=VALUE stands for."""
    key, is_value, value = text.partition("=")
    names = of_value(key, value, seeds_below) if is_value else text.split(",")
    seeds, columns = zip(*map(right, names), strict=True)
    if not all(columns[0].index.equals(column.index) for column in columns):
        raise UserError(f"{text}: their test images differ")
    if len(set(seeds)) < len(seeds):
        raise UserError(f"{text}: seeds {', '.join(map(str, seeds))}; each should be another one")
    return Setting([*seeds], pd.concat(columns, axis=1))


def of_value(key: str, value: str, seeds_below: float) -> list[str]:
    """Return the trainings of the last commit with a value, one for each seed."""
    found = trainings()
    committed = found[0].params
    if key not in committed:
        raise UserError(f"{key}={value}: no such parameter in {PARAMS}")
    wanted = committed | {key: yaml.safe_load(value)}
    seeds = {
        each.params["seed"]: each.name
        for each in reversed(found)
        if not each.state
        and each.name != "workspace"
        and {**each.params, "seed": None} == {**wanted, "seed": None}
        and "accuracy" in each.metrics
        and each.params["seed"] < seeds_below
    }
    if not seeds:
        raise UserError(
            f"{key}={value}: no experiment of the last commit has it, test results, and all other "
            f"parameters as committed; `dvc exp run -S {key}={value}` makes one"
        )
    return [seeds[seed] for seed in sorted(seeds)]


def right(revision: str) -> tuple[Any, pd.Series]:
    """Return a revision's seed and, by index and class, about which test images it is right.

    Raises:
        UserError: there is no such revision, or it has no predictions of the model it trained.
    """
    name = f"{PREDICTIONS} of {revision}"
    try:
        if not revision:
            raise ValueError("no name of a revision")
        with Repo() as repo, switch(repo, revision):
            is_outdated = f"{PREDICTIONS}" in outdated(repo)
            text = None if is_outdated else repo.dvcfs.read_text(f"/{PREDICTIONS}")
            seed = yaml.safe_load(repo.dvcfs.read_text(f"/{PARAMS}"))["seed"]
    except Exception as error:
        # Git, DVC and the file system each raise their own.
        raise UserError(f"{name}: {one_line(error)}") from None
    if text is None:
        apply = "" if revision == "workspace" else f"`dvc exp apply {revision}` and "
        raise UserError(
            f"{name}: missing, or of another model than the one trained there; to test that one, "
            f"run {apply}`dvc repro`, or the experiment without naming a stage"
        )
    table = parse_table(text, name, COLUMNS)
    table["right"] = table["actual"] == table["predicted"]
    return seed, table.set_index(["index", "actual"])["right"]


def summary(of: Setting) -> str:
    """Return the accuracy: of one training with Wilson's interval, else the mean, from and to."""
    accuracies = of.right.mean()
    if len(accuracies) > 1:
        ends = f"{accuracies.min():.2%} to {accuracies.max():.2%}"
        return f"{accuracies.mean():.2%}, {len(accuracies)} seeds, {ends}"
    found = accuracy_with_interval(of.right.iloc[:, 0].to_numpy())
    return "{accuracy:.2%}, 95 % interval {accuracy_low:.2%} to {accuracy_high:.2%}".format(**found)


def points(fraction: float) -> str:
    return f"{100 * fraction:+.2f}"


def difference(first: pd.Series, second: pd.Series) -> list[str]:
    """Compare two models on the same images.

    Only the images that one of them has right and the other wrong tell them apart. Were both as
    good, either would be right on half of these: McNemar, "Note on the sampling error of the
    difference between correlated proportions or percentages", 1947, here in its exact form.
    """
    only_first = int((first & ~second).sum())
    only_second = int((second & ~first).sum())
    each = second.astype(int) - first.astype(int)
    margin = norm.ppf(1 - LEVEL / 2) * each.std(ddof=0) / len(each) ** 0.5
    lines = [
        f"difference: {points(each.mean())} points, 95 % interval "
        f"{points(each.mean() - margin)} to {points(each.mean() + margin)}",
        f"right only in the first: {only_first}, only in the second: {only_second}",
    ]
    if only_first + only_second == 0:
        return [*lines, "both are right and wrong on the same images"]
    p = binomtest(only_first, only_first + only_second).pvalue
    verdict = "significant" if p < LEVEL else "not significant"
    told = f"McNemar's test: p = {p:.2g}, {verdict} at the 5 % level"
    return [*lines, told, "one training each: another seed may change more than that"]


def difference_of_settings(
    first: np.ndarray, second: np.ndarray, paired: bool, level: float = LEVEL
) -> tuple[float, float, float]:
    """Return how much better the second of two settings is, and the interval of that.

    It is for other seeds and other test images than these. Its variance is the sum of what each of
    the two contributes, from the mean squares of a layout of seeds by images: Cornfield & Tukey,
    "Average values of mean squares in factorials", 1956. The degrees of freedom are those of
    Satterthwaite, "An approximate distribution of estimates of variance components", 1946.

    Args:
        first: whether it is right, bool (trainings, images), at least two trainings; of two that
            are paired, the interval misses more often than it should.
        second: likewise, of the same images.
        paired: whether the n-th trainings of both have the same seed.
        level: how often the interval may miss, from 0 to 1.

    Returns:
        the difference of the mean accuracies, and the ends of its interval.
    """
    a, b = first.astype(float), second.astype(float)
    images = a.shape[1]
    by_image = b.mean(axis=0) - a.mean(axis=0)
    of_seeds = of_both = spread = 0.0
    for each in [b - a] if paired else [a, b]:
        count = len(each)
        by_seed = each.mean(axis=1)
        residual = each - by_seed[:, None] - each.mean(axis=0) + each.mean()
        variance = by_seed.var(ddof=1) / count
        of_seeds += variance
        spread += variance**2 / (count - 1)
        of_both += (residual**2).sum() / ((count - 1) * (images - 1)) / (count * images)
    # What seeds and images do together is in the variance of the seeds and in that of the images.
    # By chance, little may be left of both; half of that of the images is too low for any case.
    of_images = by_image.var(ddof=1) / images
    total = max(of_images + of_seeds - of_both, of_images / 2)
    freedom = total**2 / spread if spread else np.inf
    half = t.ppf(1 - level / 2, freedom) * total**0.5
    middle = float(by_image.mean())
    return middle, middle - half, middle + half


def verdict(names: tuple[str, str], both: tuple[Setting, Setting], level: float) -> "Verdict":
    """Say which of two settings is better, as far as their trainings show it."""
    first, second = both
    middle, low, high = difference_of_settings(
        first.right.to_numpy().T, second.right.to_numpy().T, first.seeds == second.seeds, level
    )
    counts = sorted({len(first.seeds), len(second.seeds)})
    seeds = f"{counts[0]} seeds each" if len(counts) == 1 else "{} and {} seeds".format(*counts)
    ends = f"{100 * (1 - level):.4g} % interval {points(low)} to {points(high)}, {seeds}"
    if low <= 0 <= high:
        told = f"difference: {points(middle)} points, {ends}: not significant at the 5 % level"
    elif low > 0:
        told = f"{names[1]} is better by {100 * middle:.2f} points, {ends}"
    else:
        told = f"{names[0]} is better by {-100 * middle:.2f} points, {ends}"
    return Verdict(told, low, high)


def until_sure(names: tuple[str, str], enough: float, limit: int) -> None:
    """Train more seeds of two settings, until their difference is out of doubt.

    Each of several looks takes an equal part of the 5 %, so that all of them together keep it
    (Bonferroni's inequality).

    Args:
        names: KEY=VALUE each, of one parameter.
        enough: a difference that does not matter, as a fraction; 0: every one does.
        limit: so many seeds of each at most.
    """
    (key, first), (other, second) = (name.partition("=")[::2] for name in names)
    if not key == other or not first or not second:
        raise UserError(f"--until-sure: found {' '.join(names)}; allowed is KEY=VALUE1 KEY=VALUE2")
    looks = limit // SEEDS_AT_ONCE
    for look in range(looks):
        seeds = range(SEEDS_AT_ONCE * look, SEEDS_AT_ONCE * (look + 1))
        values = [f"seed={','.join(map(str, seeds))}", f"{key}={first},{second}"]
        command = [sys.executable, "-m", "tools.sweep", "-S", values[0], "-S", values[1]]
        if code := subprocess.run(command).returncode:
            # It has said why.
            sys.exit(code)
        both = setting(names[0], seeds.stop), setting(names[1], seeds.stop)
        found = verdict(names, both, LEVEL / looks)
        print(found.told, flush=True)
        if not found.low <= 0 <= found.high or -enough < found.low <= found.high < enough:
            return
    print(f"not sure after {SEEDS_AT_ONCE * looks} seeds each")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tools.compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("first", metavar="FIRST", help="a revision, several, or KEY=VALUE")
    add("second", metavar="SECOND", nargs="?", default="workspace", help="likewise; workspace")
    add("--until-sure", action="store_true", help="train more seeds of KEY=VALUE1 and KEY=VALUE2")
    how = "with --until-sure, stop as well where the difference is less than so many points"
    add("--points", metavar="P", type=float, default=0.0, help=how)
    add("--limit", metavar="N", type=int, default=12, help="of seeds, with --until-sure; 12")
    arguments = parser.parse_args()
    if arguments.limit < SEEDS_AT_ONCE or not arguments.points >= 0:
        allowed = f"--limit of {SEEDS_AT_ONCE} or more, --points of 0 or more"
        raise UserError(
            f"--limit {arguments.limit} --points {arguments.points}: allowed: {allowed}"
        )
    names = arguments.first, arguments.second
    if arguments.until_sure:
        until_sure(names, arguments.points / 100, arguments.limit)
        return
    first, second = map(setting, names)
    if not first.right.index.equals(second.right.index):
        raise UserError(
            f"{PREDICTIONS}: {len(first.right)} and {len(second.right)} test images; the same are "
            "needed, by index and class"
        )
    width = max(map(len, names))
    for name, each in zip(names, (first, second), strict=True):
        print(f"{name:{width}}  {summary(each)}")
    counts = len(first.seeds), len(second.seeds)
    if counts == (1, 1):
        print("\n".join(difference(first.right.iloc[:, 0], second.right.iloc[:, 0])))
    elif min(counts) < SEEDS_AT_ONCE:
        raise UserError(
            f"{names[0]}, {names[1]}: {counts[0]} and {counts[1]} trainings; allowed are one each, "
            f"or {SEEDS_AT_ONCE} or more, which show how they spread"
        )
    else:
        print(verdict(names, (first, second), LEVEL).told)


if __name__ == "__main__":
    run(main)
