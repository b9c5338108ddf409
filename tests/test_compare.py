"""Whether one model is better than another, told from their predictions."""

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from scipy.stats import binomtest

from stages.compare import difference
from tests.project import Project, Run, assert_refused, put, run


def compare(project: Project, *revisions: str) -> Run:
    command = ["python", "-m", "stages.compare", *revisions]
    return run(command, project.folder, PYTHONPATH="")


def predictions(project: Project) -> pd.Series:
    """Give of each test image whether the workspace's model is right."""
    table = pd.read_csv(project.folder / "plots/predictions.csv")
    return table["actual"] == table["predicted"]


def test_revisions_and_the_workspace(reproduced: Callable[[Path], Project], tmp_path: Path) -> None:
    project = reproduced(tmp_path)
    project.git("tag", "before")
    first = predictions(project)
    params = project.params()
    put(params, "evaluate.tta", "none")
    project.write(params)
    project.repro("evaluate")
    second = predictions(project)

    result = compare(project, "before")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"before     {first.mean():.2%}, 95 % interval ")
    assert lines[1].startswith(f"workspace  {second.mean():.2%}, 95 % interval ")
    assert lines[2].startswith(f"difference: {second.mean() - first.mean():+.2%}, 95 % interval ")
    only = [int((first & ~second).sum()), int((second & ~first).sum())]
    assert [*map(int, re.findall(r"\d+", lines[3]))] == only
    p = binomtest(only[0], sum(only)).pvalue
    assert lines[4].startswith(f"McNemar's test: p = {p:.2g}, ")

    project.commit("No views")
    assert compare(project, "before", "HEAD").stdout.splitlines()[2:] == lines[2:]
    same = compare(project, "HEAD", "main").stdout.splitlines()
    assert same[-1] == "both are right and wrong on the same images"

    table = project.folder / "plots/predictions.csv"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:101]))
    assert_refused(compare(project, "HEAD"), "200 and 100 test images; the same are needed")
    assert_refused(compare(project, "nowhere"), "plots/predictions.csv of nowhere: ")


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [(60, 100, "more than chance"), (80, 100, "no more than chance")],
)
def test_verdict(first: int, second: int, verdict: str) -> None:
    """Of 1000 images, each has so many right that the other has wrong."""
    right = pd.Series([True] * first + [False] * second + [True] * (1000 - first - second))
    other = pd.Series([False] * first + [True] * second + [True] * (1000 - first - second))
    lines = difference(right, other)
    assert lines[0].startswith(f"difference: {(second - first) / 1000:+.2%}")
    # The interval's half width, by hand: 1.96 times the deviation over the root of 1000.
    d = (second - first) / 1000
    half = 1.959964 * (((first + second) / 1000 - d**2) / 1000) ** 0.5
    assert lines[0].endswith(f"{d - half:+.2%} to {d + half:+.2%}")
    assert verdict in lines[2]
