"""The README's own commands, in its own order, on few images: they work and print what it shows."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.project import ROOT, Project

README = (ROOT / "README.md").read_text()
# A block of commands, each with what it prints.
BLOCKS = re.findall(r"^```console\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
EDIT = "say `epochs: 2` under `recipes.airbench_small`"


def commands(block: str) -> list[tuple[str, list[str]]]:
    """Return the commands of a block, and the lines that each prints."""
    found: list[tuple[str, list[str]]] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append((line[2:].partition("  #")[0], []))
        else:
            found[-1][1].append(line)
    return found


@pytest.fixture(scope="module")
def printed(
    edited: Callable[[Path], Project], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """Return what each command prints; `make` is what continuous integration runs."""
    assert EDIT in README
    # There are two on few images.
    project = edited(tmp_path_factory.mktemp("readme"))
    params = project.params()
    outputs = {"dvc repro": (project.folder / ".git/output").read_text()}
    for block in BLOCKS:
        for command, _ in commands(block):
            if not command.startswith("make") and command not in outputs:
                outputs[command] = project.call(*shlex.split(command))
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
    ((_, lines),) = [c for block in BLOCKS for c in commands(block) if c[0] == "dvc metrics diff"]
    found = [line.split() for line in printed["dvc metrics diff"].splitlines()]
    head, *rows, dots = lines
    assert dots == "..."
    assert head.split() == found[0] == ["Path", "Metric", "HEAD", "workspace", "Change"]
    for path, metric, *numbers in (*(row.split() for row in rows), *found[1:]):
        assert metric in json.loads((ROOT / path).read_text())
        old, new, change = map(float, numbers)
        assert new - old == pytest.approx(change, abs=2e-5)


def test_a_sweep_names_the_best(printed: dict[str, str]) -> None:
    (output,) = [text for command, text in printed.items() if "tools.sweep" in command]
    assert "2 done" in output.splitlines()
    assert re.search(r"^`dvc exp apply [\w-]+` brings the best one", output, re.M)
