"""Tell whether one model, or one setting, is better than another.

`python -m tools.compare HEAD` compares the last commit with the workspace. A revision is whatever
DVC takes for one: a commit, a tag, a branch, the name of an experiment, `workspace`.

A setting is several trainings that differ by the seed alone: revisions with commas between them, or
KEY=VALUE, the trainings of the last commit and its experiments with this value of a parameter, all
others as committed.
"""

import argparse
import io
import json
import math
import shlex
import subprocess
import sys
from typing import Annotated, Any

import numpy as np
import pandas as pd
from dvc.repo import Repo
from dvc.repo.brancher import switch
from pydantic import Field
from scipy.stats import binomtest, t

from pipeline.common.params import parse_yaml
from pipeline.common.paths import PARAMS, PREDICTIONS
from pipeline.common.shell import UserError, one_line, run
from pipeline.common.tables import read_table
from pipeline.evaluation.metrics import accuracy_with_interval
from tools.experiments import TESTED_BY, Training, at, outdated, trainings

# Of other revisions, nothing says which classes there are. Of a row that was cut off, pandas makes
# empty names.
Name = Annotated[str, Field(min_length=1)]
COLUMNS = {"index": int, "actual": Name, "predicted": Name}
LEVEL = 0.05
SEEDS_AT_ONCE = 3
PAIRS = 6  # At least; the interval of fewer misses too often.
LIMIT = 12  # Of seeds, with --until-sure.


# Trainings that differ by the seed alone: whether each is right, bool. A row is a test image, a
# column a training, named by its seed.
Setting = pd.DataFrame


def setting(text: str, known: list[Training], seeds_below: float = math.inf) -> Setting:
    """Return what a revision, several, or KEY=VALUE of the known trainings stands for."""
    names = of_value(text, known, seeds_below) if "=" in text else text.split(",")
    # In one order of the seeds, to which pairs belong.
    found = sorted(map(right, names), key=lambda each: str(each[0]))
    seeds, columns = zip(*found, strict=True)
    if not all(columns[0].index.equals(column.index) for column in columns):
        raise UserError(f"{text}: their test images differ")
    if len(set(seeds)) < len(seeds):
        raise UserError(f"{text}: seeds {', '.join(map(str, seeds))}; each should be another one")
    return pd.concat(dict(found), axis=1)


def value_of(text: str, params: dict[str, Any]) -> tuple[str, Any]:
    """Return the key and the value of KEY=VALUE.

    Raises:
        UserError: there is no such parameter, or the text is no value of one.
    """
    key, _, value = text.partition("=")
    if key not in params:
        raise UserError(f"{text}: no such parameter in {PARAMS}")
    if key == "seed":
        raise UserError(f"{text}: a setting has several seeds; name revisions instead")
    if not value:
        raise UserError(f"{text}: no value")
    return key, parse_yaml(value, text)


def of_value(text: str, known: list[Training], seeds_below: float) -> list[str]:
    """Return the trainings of the last commit, which is the first, with a value; one a seed."""
    key, value = value_of(text, known[0].params)
    wanted = {**known[0].params, key: value, "seed": None}
    # A commit's own training is taken where no experiment has its seed.
    found = {
        each.params["seed"]: each
        for each in known
        # First, since what failed may have any value, also of the seed.
        if not each.state and each.name != "workspace" and TESTED_BY in each.metrics
        if {**each.params, "seed": None} == wanted and each.params["seed"] < seeds_below
        # In Python, 1 is True.
        if isinstance(each.params[key], bool) == isinstance(value, bool)
    }
    if not found:
        how = shlex.join(["dvc", "exp", "run", "-S", text])
        raise UserError(
            f"{text}: no tested training of the last commit has it, with all other parameters as "
            f"committed; `{how}` makes one"
        )
    names = [each.name for each in found.values()]
    if len({json.dumps(each.code, sort_keys=True) for each in found.values()}) > 1:
        raise UserError(f"{text}: {', '.join(names)} ran different code; name those to compare")
    return names


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
            # From the root, wherever in the project this runs.
            read = repo.dvcfs.read_text
            params = parse_yaml(read(f"/{PARAMS}"), PARAMS)
            has_lock = repo.dvcfs.exists("/dvc.lock")
            lock = parse_yaml(read("/dvc.lock"), "dvc.lock")["stages"] if has_lock else {}
            text = None if f"{PREDICTIONS}" in outdated(lock, params) else read(f"/{PREDICTIONS}")
    except Exception as error:
        # Git, DVC and the file system each raise their own.
        raise UserError(f"{name}: {one_line(error)}") from None
    if text is None:
        apply = "" if revision == "workspace" else f"`dvc exp apply {revision}` and "
        raise UserError(
            f"{name}: missing, or of another model than the one trained there; to test that one, "
            f"run {apply}`dvc repro`, or the experiment without naming a stage"
        )
    table = read_table(io.StringIO(text), COLUMNS, name=name)
    table["right"] = table["actual"] == table["predicted"]
    return at(params, "seed"), table.set_index(["index", "actual"])["right"]


def summary(of: Setting) -> str:
    """Return the accuracy: of one training with Wilson's interval, else the mean, from and to."""
    accuracies = of.mean()
    if len(accuracies) > 1:
        ends = f"{accuracies.min():.2%} to {accuracies.max():.2%}"
        return f"{accuracies.mean():.2%}, {len(accuracies)} seeds, {ends}"
    found = accuracy_with_interval(of.iloc[:, 0].to_numpy())
    return "{accuracy:.2%}, 95 % interval {accuracy_low:.2%} to {accuracy_high:.2%}".format(**found)


def signed(fraction: float) -> str:
    """Return a fraction in points."""
    return f"{100 * fraction:+.2f}"


def difference(first: pd.Series, second: pd.Series) -> list[str]:
    """Compare two models on the same images.

    Only the images that one of them has right and the other wrong tell them apart. Were both as
    good, either would be right on half of these: McNemar, "Note on the sampling error of the
    difference between correlated proportions or percentages", 1947, here in its exact form. The
    interval is the one of Clopper and Pearson, which excludes zero just where the test says so.
    """
    only_first = int((first & ~second).sum())
    only_second = int((second & ~first).sum())
    either = only_first + only_second
    if not either:
        return ["both are right and wrong on the same images"]
    test = binomtest(only_second, either)
    p, ends = test.pvalue, test.proportion_ci(1 - LEVEL)
    middle, low, high = (
        signed(either / len(first) * (2 * share - 1))
        for share in (only_second / either, ends.low, ends.high)
    )
    lines = [
        f"difference: {middle} points, 95 % interval {low} to {high}",
        f"right only in the first: {only_first}, only in the second: {only_second}",
    ]
    how = "significant" if p < LEVEL else "not significant"
    told = f"McNemar's test: p = {p:.2g}, {how} at the 5 % level"
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
        first: whether it is right, bool (trainings, images), at least two trainings.
        second: likewise, of the same images.
        paired: whether the n-th trainings of both have the same seed. Of fewer than six pairs, the
            interval misses too often.
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
    # By chance, little may be left of both; half of that of the images is too low for any case. And
    # where all answers are the same, no more is known than half an image.
    of_images = by_image.var(ddof=1) / images
    total = max(of_images + of_seeds - of_both, of_images / 2, (0.5 / images) ** 2)
    freedom = total**2 / spread if spread else np.inf
    half = t.ppf(1 - level / 2, freedom) * total**0.5
    middle = float(by_image.mean())
    return middle, middle - half, middle + half


def verdict(
    names: tuple[str, str], both: tuple[Setting, Setting], level: float
) -> tuple[str, float, float]:
    """Say which of two settings is better, and return the interval of how much the second is."""
    first, second = both
    paired = first.columns.equals(second.columns) and len(first.columns) >= PAIRS
    middle, low, high = difference_of_settings(
        first.to_numpy().T, second.to_numpy().T, paired, level
    )
    counts = sorted({len(first.columns), len(second.columns)})
    seeds = f"{counts[0]} seeds each" if len(counts) == 1 else "{} and {} seeds".format(*counts)
    each = "" if level == LEVEL else " at each look, 95 % in all"
    ends = f"{100 * (1 - level):.4g} % interval {signed(low)} to {signed(high)}{each}, {seeds}"
    if low <= 0 <= high:
        told = f"difference: {signed(middle)} points, {ends}: not significant at the 5 % level"
    else:
        better = names[1] if low > 0 else names[0]
        told = f"{better} is better by {100 * abs(middle):.2f} points, {ends}"
    return told, low, high


def until_sure(names: tuple[str, str], points: float = 0.0, limit: int = LIMIT) -> None:
    """Train more seeds of two settings, until their difference is out of doubt.

    Each of several looks takes an equal part of the 5 %, so that all of them together keep it
    (Bonferroni's inequality).

    Args:
        names: KEY=VALUE each, of one parameter.
        points: a difference of so many points does not matter; 0: every one does.
        limit: so many seeds of each at most.
    """
    if not points >= 0:
        raise UserError(f"--points {points}: allowed is 0 or more")
    if limit < SEEDS_AT_ONCE:
        raise UserError(f"--limit {limit}: allowed is {SEEDS_AT_ONCE} or more")
    params = trainings()[0].params
    (key, first), (other, second) = (value_of(name, params) for name in names)
    if key != other or first == second:
        given = " ".join(names)
        raise UserError(f"--until-sure: {given}: allowed are two values of the same parameter")
    looks = math.ceil(limit / SEEDS_AT_ONCE)
    for start in range(0, limit, SEEDS_AT_ONCE):
        seeds = range(start, min(start + SEEDS_AT_ONCE, limit))
        of_both = f"{key}={','.join(name.partition('=')[2] for name in names)}"
        sets = ["-S", f"seed={','.join(map(str, seeds))}", "-S", of_both]
        command = [sys.executable, "-m", "tools.sweep", *sets]
        if code := subprocess.run(command, cwd=Repo.find_root()).returncode:
            # It has said why.
            sys.exit(code)
        known = trainings()
        both = setting(names[0], known, seeds.stop), setting(names[1], known, seeds.stop)
        told, low, high = verdict(names, both, LEVEL / looks)
        print(told, flush=True)
        if not low <= 0 <= high:
            return
        if -points < 100 * low <= 100 * high < points:
            print(f"the difference is less than {points:g} points")
            return
    print(f"not sure after {limit} seeds each")


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
    add("--points", metavar="P", type=float, help=how)
    how = f"with --until-sure, train so many seeds at most, {SEEDS_AT_ONCE} at a time; {LIMIT}"
    add("--limit", metavar="N", type=int, help=how)
    arguments = parser.parse_args()
    names = arguments.first, arguments.second
    asked = {name: getattr(arguments, name) for name in ("points", "limit")}
    given = {name: value for name, value in asked.items() if value is not None}
    if arguments.until_sure:
        until_sure(names, **given)
        return
    if given:
        raise UserError(f"--{' and --'.join(given)}: allowed with --until-sure only")
    known = trainings() if any("=" in name for name in names) else []
    first, second = (setting(name, known) for name in names)
    if not first.index.equals(second.index):
        raise UserError(
            f"{PREDICTIONS}: {len(first)} and {len(second)} test images; the same are needed, by "
            "index and class"
        )
    counts = len(first.columns), len(second.columns)
    if counts != (1, 1) and min(counts) < SEEDS_AT_ONCE:
        raise UserError(
            f"{names[0]}, {names[1]}: {counts[0]} and {counts[1]} trainings; allowed are one each, "
            f"or {SEEDS_AT_ONCE} or more, which show how they spread"
        )
    width = max(map(len, names))
    for name, each in zip(names, (first, second), strict=True):
        print(f"{name:{width}}  {summary(each)}")
    if counts == (1, 1):
        print("\n".join(difference(first.iloc[:, 0], second.iloc[:, 0])))
    else:
        print(verdict(names, (first, second), LEVEL)[0])


if __name__ == "__main__":
    run(main)
