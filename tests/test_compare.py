"""Whether one model is better than another, told from their predictions."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from tests.project import Project, Stage, assert_refused, printed, run
from tools.compare import difference

PREDICTIONS = "plots/predictions.csv"


def write_table(folder: Path, right: np.ndarray) -> None:
    """Write predictions of cats; the first image's index is 1."""
    predicted = np.where(right, "cat", "dog")
    table = pd.DataFrame({"actual": "cat", "predicted": predicted, "confidence": 0.5})
    table.index += 1
    (folder / "plots").mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / PREDICTIONS, index_label="index")


FIRST = np.arange(40) % 5 != 0
SECOND = np.arange(40) % 4 != 3


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Return a project whose commit has FIRST and whose workspace SECOND.

    In a folder of a Git repository, as `dvc init --subdir` makes it.
    """
    repository = Project(tmp_path)
    repository.init()
    project = Project(tmp_path / "project")
    project.folder.mkdir()
    project.dvc("init", "--quiet", "--subdir")
    repository.commit("Without predictions")
    repository.git("tag", "empty")
    (project.folder / "params.yaml").write_text("seed: 0\n")
    write_table(project.folder, FIRST)
    repository.commit("With predictions")
    write_table(project.folder, SECOND)
    return project


def test_revisions_and_the_workspace(project: Project, call_stage: Stage) -> None:
    compare = partial(call_stage, "compare", project.folder)
    lines = printed(compare("HEAD")).splitlines()
    for line, name, right in zip(lines, ("HEAD", "workspace"), (FIRST, SECOND), strict=False):
        interval = binomtest(right.sum(), 40).proportion_ci(0.95, "wilson")
        assert line == (
            f"{name:9}  {right.mean():.2%}, 95 % interval {interval.low:.2%} to {interval.high:.2%}"
        )
    assert lines[2:] == difference(pd.Series(FIRST), pd.Series(SECOND))
    swapped = compare("workspace", "main").stdout.splitlines()
    assert swapped[2:] == difference(pd.Series(SECOND), pd.Series(FIRST))
    # From any folder of the project, and in a process of its own.
    inside = run(["python", "-m", "tools.compare", "HEAD"], project.folder / "plots")
    assert inside.stdout.splitlines() == lines

    outside = call_stage("compare", project.folder.parent, "HEAD")
    assert_refused(outside, f"{PREDICTIONS} of HEAD: ", " DVC ")
    assert_refused(compare("nowhere"), f"{PREDICTIONS} of nowhere: ")
    assert_refused(compare("empty"), f"{PREDICTIONS} of empty: ", "No such file")
    assert_refused(compare(""), f"{PREDICTIONS} of : no name of a revision")
    write_table(project.folder, SECOND[:30])
    assert_refused(compare("HEAD"), "40 and 30 test images; the same are needed")
    path = project.folder / PREDICTIONS
    path.write_text(path.read_text().removesuffix(",cat,0.5\n").removesuffix(",dog,0.5\n"))
    assert_refused(compare("HEAD"), f"{PREDICTIONS} of workspace: line 31, column predicted: ")
    path.write_text(path.read_text().replace("7,cat", ">>>>>>> theirs"))
    assert_refused(compare("HEAD"), f"{PREDICTIONS} of workspace: line 8")


def test_standard_output_that_is_closed_or_full(project: Project) -> None:
    """Around which DVC has a wrapper of its own."""
    script = "set -o pipefail; python -m tools.compare HEAD"
    closed = run(["bash", "-c", f"{script} | true"], project.folder)
    assert (closed.returncode, closed.stderr) == (128 + 13, "")
    full = run(["bash", "-c", f"{script} > /dev/full"], project.folder)
    assert (full.returncode, full.stderr) == (2, "error: No space left on device\n")


def test_settings_of_several_seeds(project: Project, call_stage: Stage) -> None:
    for seed in (1, 2, 3):
        (project.folder / "params.yaml").write_text(f"seed: {seed}\n")
        write_table(project.folder, np.roll(FIRST, seed))
        project.commit(f"Seed {seed}")
    compare = partial(call_stage, "compare", project.folder)
    several = "HEAD,HEAD~1,HEAD~2"
    # The same trainings in another order are the same setting.
    first, second, last = compare(several, "HEAD~2,HEAD,HEAD~1").stdout.splitlines()
    for line in (first, second):
        assert line.endswith("  80.00%, 3 seeds, 80.00% to 80.00%")
    assert last.startswith("difference: +0.00 points, 95 % interval -2.45 to +2.45, ")
    assert last.endswith(", 3 seeds each: not significant at the 5 % level")
    assert_refused(compare("HEAD,HEAD", "HEAD~1"), "HEAD,HEAD: seeds 3, 3; ")
    assert_refused(compare(several, "HEAD~3"), "3 and 1 trainings; ")
