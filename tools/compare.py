"""Tell whether one model is better than another.

`python -m tools compare HEAD` compares the last commit with the workspace. A revision is whatever
DVC takes for one: a commit, a tag, a branch, the name of an experiment, `workspace`.
"""

import argparse

import pandas as pd
from dvc.repo import Repo
from dvc.repo.brancher import switch
from scipy.stats import binomtest, norm

from stages.errors import InputError, exit_with_message, in_one_line
from stages.tables import PREDICTIONS, parse_table

PATH = "plots/predictions.csv"


def right(revision: str) -> pd.Series:
    """Return of each test image, by its index, whether the model of a revision was right about it.

    Raises:
        InputError: there is no such revision, or it has no predictions.
    """
    name = f"{PATH} of {revision}"
    try:
        if not revision:
            raise ValueError("no name of a revision")
        with Repo() as repo, switch(repo, revision):
            # From the root, wherever in the project this runs.
            text = repo.dvcfs.read_text(f"/{PATH}")
    except Exception as error:
        # Git, DVC and the file system each raise their own.
        raise InputError(f"{name}: {in_one_line(error)}") from None
    table = parse_table(text, name, PREDICTIONS).set_index("index")
    return table["actual"] == table["predicted"]


def interval(correct: pd.Series) -> str:
    """Return the accuracy with Wilson's 95 % interval."""
    proportion = binomtest(int(correct.sum()), len(correct)).proportion_ci(method="wilson")
    return f"{correct.mean():.2%}, 95 % interval {proportion.low:.2%} to {proportion.high:.2%}"


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
    """Print the comparison."""
    parser = argparse.ArgumentParser(prog="python -m tools compare", description=__doc__)
    parser.add_argument("first", metavar="REV1")
    parser.add_argument("second", metavar="REV2", nargs="?", default="workspace")
    arguments = parser.parse_args()
    first, second = right(arguments.first), right(arguments.second)
    if not first.index.equals(second.index):
        raise InputError(
            f"{PATH}: {len(first)} and {len(second)} test images; the same are needed, by index"
        )
    width = max(len(arguments.first), len(arguments.second))
    print(f"{arguments.first:{width}}  {interval(first)}")
    print(f"{arguments.second:{width}}  {interval(second)}")
    print("\n".join(difference(first, second)))


if __name__ == "__main__":
    exit_with_message(main)
