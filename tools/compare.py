"""Tell whether one model is better than another.

`python -m tools.compare HEAD` compares the last commit with the workspace. A revision is whatever
DVC takes for one: a commit, a tag, a branch, the name of an experiment, `workspace`.
"""

import argparse

import pandas as pd
import yaml
from dvc.repo import Repo
from dvc.repo.brancher import switch
from scipy.stats import binomtest, norm

from pipeline.common.shell import UserError, one_line, run
from pipeline.common.tables import parse_table
from pipeline.evaluation.metrics import accuracy_with_interval

PATH = "plots/predictions.csv"
# Of other revisions, nothing says which classes there are.
COLUMNS = {"index": int, "actual": str, "predicted": str}


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


def right(revision: str) -> pd.Series:
    """Return of each test image, by index and class, whether a revision's model was right about it.

    Raises:
        UserError: there is no such revision, or it has no predictions of the model it trained.
    """
    name = f"{PATH} of {revision}"
    try:
        if not revision:
            raise ValueError("no name of a revision")
        with Repo() as repo, switch(repo, revision):
            is_outdated = PATH in outdated(repo)
            text = None if is_outdated else repo.dvcfs.read_text(f"/{PATH}")
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
    return table.set_index(["index", "actual"])["right"]


def interval(correct: pd.Series) -> str:
    """Return the accuracy with Wilson's 95 % interval."""
    found = accuracy_with_interval(correct.to_numpy())
    return "{accuracy:.2%}, 95 % interval {accuracy_low:.2%} to {accuracy_high:.2%}".format(**found)


def difference(first: pd.Series, second: pd.Series) -> list[str]:
    """Compare two models on the same images.

    Only the images that one of them has right and the other wrong tell them apart. Were both as
    good, either would be right on half of these: McNemar, "Note on the sampling error of the
    difference between correlated proportions or percentages", 1947, here in its exact form.
    """
    only_first = int((first & ~second).sum())
    only_second = int((second & ~first).sum())
    each = second.astype(int) - first.astype(int)
    margin = norm.ppf(0.975) * each.std(ddof=0) / len(each) ** 0.5
    lines = [
        f"difference: {each.mean():+.2%}, 95 % interval "
        f"{each.mean() - margin:+.2%} to {each.mean() + margin:+.2%}",
        f"right only in the first: {only_first}, only in the second: {only_second}",
    ]
    if only_first + only_second == 0:
        return [*lines, "both are right and wrong on the same images"]
    p = binomtest(only_first, only_first + only_second).pvalue
    verdict = "more" if p < 0.05 else "no more"
    return [*lines, f"McNemar's test: p = {p:.2g}, {verdict} than chance explains at 5 %"]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.compare", description=__doc__)
    parser.add_argument("first", metavar="REV1")
    parser.add_argument("second", metavar="REV2", nargs="?", default="workspace")
    arguments = parser.parse_args()
    first, second = right(arguments.first), right(arguments.second)
    if not first.index.equals(second.index):
        raise UserError(
            f"{PATH}: {len(first)} and {len(second)} test images; the same are needed, by index "
            "and class"
        )
    width = max(len(arguments.first), len(arguments.second))
    print(f"{arguments.first:{width}}  {interval(first)}")
    print(f"{arguments.second:{width}}  {interval(second)}")
    print("\n".join(difference(first, second)))


if __name__ == "__main__":
    run(main)
