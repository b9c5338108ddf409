"""Whether one model is better than another, told from their predictions."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from scipy.stats import binomtest

from tests.project import Project, Run, assert_refused, put, run


def compare(project: Project, *revisions: str) -> Run:
    command = ["python", "-m", "tools", "compare", *revisions]
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
    inside = run(["python", "-m", "tools", "compare", "HEAD"], project.folder / "plots")
    assert inside.stdout.splitlines() == lines


def test_damaged_revision(reproduced: Callable[[Path], Project], tmp_path: Path) -> None:
    project = reproduced(tmp_path)
    path = project.folder / "plots/predictions.csv"
    path.write_text(path.read_text().replace("cat", ">>>>>>> theirs", 1))
    result = compare(project, "HEAD")
    assert_refused(result, "plots/predictions.csv of workspace: line ", "'>>>>>>> theirs'")
    assert_refused(compare(project, ""), "plots/predictions.csv of : no name of a revision")
