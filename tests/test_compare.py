"""Whether one model is better than another, told from their predictions."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from scipy.stats import binomtest

from stages.compare import difference
from stages.errors import InputError
from stages.tables import PREDICTIONS, parse_table
from tests.project import Project, Run, assert_refused, put, run


def compare(project: Project, *revisions: str) -> Run:
    command = ["python", "-m", "stages.compare", *revisions]
    return run(command, project.folder, PYTHONPATH="")


def predictions(project: Project) -> pd.Series:
    """Return of each test image whether the workspace's model is right."""
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


def test_project_in_a_subfolder(reproduced: Callable[[Path], Project], tmp_path: Path) -> None:
    """Of a Git repository, as `dvc init --subdir` makes it; seen from a folder of its own, too."""
    project = reproduced(tmp_path / "repository/project")
    shutil.rmtree(project.folder / ".git")
    repository = Project(project.folder.parent)
    repository.git("init", "--quiet")
    repository.git("config", "user.name", "Test")
    repository.git("config", "user.email", "test@example.com")
    repository.commit("Start")
    params = project.params()
    put(params, "evaluate.tta", "none")
    project.write(params)
    project.dvc("exp", "run", "--name", "plain")
    lines = compare(project, "HEAD").stdout.splitlines()
    assert [line.split()[0] for line in lines[:2]] == ["HEAD", "workspace"]
    for revisions in (("HEAD", "workspace"), ("HEAD", "plain")):
        found = compare(project, *revisions)
        assert (found.returncode, found.stdout.splitlines()[2:]) == (0, lines[2:]), found.stderr
    assert compare(project, "workspace", "plain").stdout.splitlines()[-1].startswith("both are")
    inside = run(["python", "-m", "stages.compare", "HEAD"], project.folder / "plots")
    assert inside.stdout.splitlines() == lines


TABLE = "index,actual,predicted,confidence\n0,cat,cat,0.5\n1,ship,frog,0.25\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not a readable CSV file"),
        ("index,actual,predicted,confidence\n", "no rows"),
        (TABLE.replace("actual", "real"), "no column actual; found index, real, "),
        (f"<<<<<<< HEAD\n{TABLE}", "no column index; found <<<<<<< HEAD"),
        (f"{TABLE}=======\n", "line 4, column index: '======='; allowed is a whole number"),
        (TABLE.replace("frog", "whale"), "line 3, column predicted: 'whale'; allowed is airplane"),
        (TABLE.replace("0.25", ""), "line 3, column confidence: ''; allowed is a finite number"),
        (TABLE.replace("0.25", "nan"), "line 3, column confidence: 'nan'"),
        (TABLE.replace("1,", "1.5,"), "line 3, column index: '1.5'; allowed is a whole number"),
        (f"{TABLE}2,cat,cat,0.5,6\n", "not a readable CSV file"),
        (TABLE.replace("0.5", "0.5,").replace("0.25", "0.25,"), "its rows have more fields than"),
        (TABLE.replace("1,", "1e300,"), "line 3, column index: '1e300'; allowed is a whole number"),
        (f"{TABLE}\n", "line 4, column index: ''"),
    ],
)
def test_damaged_table(text: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_table(text, "plots/predictions.csv", PREDICTIONS)
    assert str(caught.value).startswith(f"plots/predictions.csv: {says}")
    assert str(caught.value).isprintable()


def test_damaged_revision(reproduced: Callable[[Path], Project], tmp_path: Path) -> None:
    project = reproduced(tmp_path)
    path = project.folder / "plots/predictions.csv"
    path.write_text(path.read_text().replace("cat", ">>>>>>> theirs", 1))
    result = compare(project, "HEAD")
    assert_refused(result, "plots/predictions.csv of workspace: line ", "'>>>>>>> theirs'")
    assert_refused(compare(project, ""), "plots/predictions.csv of : no name of a revision")


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
