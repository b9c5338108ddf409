"""Whether one model is better than another, told from their predictions."""

import io
import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
from scipy.stats import binomtest

from tests.project import Edited, Project, Stage, assert_refused, put, run

PREDICTIONS = "plots/predictions.csv"


def right(predictions: str) -> pd.Series:
    """Return of each test image whether a model is right, by its table of predictions."""
    table = pd.read_csv(io.StringIO(predictions))
    return table["actual"] == table["predicted"]


def test_revisions_and_the_workspace(edited: Edited, call_stage: Stage, tmp_path: Path) -> None:
    project = edited(tmp_path, "evaluate.tta", "none")
    compare = partial(call_stage, "compare", project.folder)
    project.git("tag", "before")
    first = right(project.git("show", f"HEAD:{PREDICTIONS}"))
    second = right((project.folder / PREDICTIONS).read_text())

    result = run(["python", "-m", "tools", "compare", "before"], project.folder, PYTHONPATH="")
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
    assert compare("before", "HEAD").stdout.splitlines()[2:] == lines[2:]
    same = compare("HEAD", "main").stdout.splitlines()
    assert same[-1] == "both are right and wrong on the same images"

    table = project.folder / PREDICTIONS
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:101]))
    assert_refused(compare("HEAD"), "200 and 100 test images; the same are needed")
    assert_refused(compare("nowhere"), "plots/predictions.csv of nowhere: ")


def test_project_in_a_subfolder(edited: Edited, call_stage: Stage, tmp_path: Path) -> None:
    """Of a Git repository, as `dvc init --subdir` makes it; seen from a folder of its own, too."""
    project = edited(tmp_path / "repository/project", "evaluate.tta", "none")
    compare = partial(call_stage, "compare", project.folder)
    project.git("restore", ".")
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
    lines = compare("HEAD").stdout.splitlines()
    assert [line.split()[0] for line in lines[:2]] == ["HEAD", "workspace"]
    for revisions in (("HEAD", "workspace"), ("HEAD", "plain")):
        found = compare(*revisions)
        assert (found.returncode, found.stdout.splitlines()[2:]) == (0, lines[2:]), found.stderr
    assert compare("workspace", "plain").stdout.splitlines()[-1].startswith("both are")
    inside = run(["python", "-m", "tools", "compare", "HEAD"], project.folder / "plots")
    assert inside.stdout.splitlines() == lines


def test_damaged_revision(
    reproduced: Callable[[Path], Project], call_stage: Stage, tmp_path: Path
) -> None:
    project = reproduced(tmp_path)
    compare = partial(call_stage, "compare", project.folder)
    path = project.folder / PREDICTIONS
    path.write_text(path.read_text().replace("cat", ">>>>>>> theirs", 1))
    result = compare("HEAD")
    assert_refused(result, "plots/predictions.csv of workspace: line ", "'>>>>>>> theirs'")
    assert_refused(compare(""), "plots/predictions.csv of : no name of a revision")
