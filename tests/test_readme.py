"""The README's own commands, in its own order, on few images: they work and print what it shows."""

import json
import re
import shlex

import pytest
import yaml

from tests.project import ROOT, MakeProject, Project, Stage, assert_refused

README = (ROOT / "README.md").read_text()
# A command, and what it prints.
COMMANDS = dict(
    pair
    for block in re.findall(r"^```console\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    for pair in re.findall(r"^\$ (.*?)(?:  #.*)?\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)
)
EDIT = "say `epochs: 2` under `recipes.airbench_small`"

# Of an experiment the training alone, and of a sweep one trial: the rest is seen by other tests.
LESS = {"dvc exp run": ["--name=half", "train"], "tools.sweep": ["--only=1"]}


@pytest.fixture(scope="module")
def project(edited: MakeProject, tmp_path_factory: pytest.TempPathFactory) -> Project:
    assert EDIT in README
    # There are two on few images.
    return edited(tmp_path_factory.mktemp("readme"))


@pytest.fixture(scope="module")
def printed(project: Project) -> dict[str, str]:
    """Return what each command prints; `make` is what continuous integration runs."""
    params = project.params()
    outputs = {"dvc repro": (project.folder / ".git/output").read_text()}
    for command in COMMANDS:
        if not command.startswith("make") and command not in outputs:
            less = [word for part, words in LESS.items() if part in command for word in words]
            outputs[command] = project.call(*shlex.split(command), *less)
            # Experiments and sweeps leave the workspace as it is.
            assert project.params() == params
    return outputs


def test_every_command_ran(printed: dict[str, str]) -> None:
    assert len(printed) == 6, "the README has other commands"
    command = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["train"]["cmd"]
    ran = f"Running stage 'train':\n> {command}\n"
    assert ran in README
    assert ran in printed["dvc repro"]
    assert "tutorial" in printed["dvc exp show --only-changed"]


def test_differences_are_shown_as_in_the_readme(printed: dict[str, str]) -> None:
    found, (*told, dots) = (
        [line.split() for line in text["dvc metrics diff"].splitlines()]
        for text in (printed, COMMANDS)
    )
    assert dots == ["..."]
    assert told[0] == found[0] == ["Path", "Metric", "HEAD", "workspace", "Change"]
    for path, metric, *numbers in (*told[1:], *found[1:]):
        assert metric in json.loads((ROOT / path).read_text())
        old, new, change = map(float, numbers)
        assert new - old == pytest.approx(change, abs=2e-5)


@pytest.mark.usefixtures("printed")
def test_an_experiment_that_was_not_evaluated(project: Project, call_stage: Stage) -> None:
    """It has the test results of the commit, which are of another model."""
    refused = call_stage("compare", project.folder, "HEAD~1", "half")
    assert_refused(refused, "predictions.csv of half: ", " of another model than ")
