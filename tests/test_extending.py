"""docs/extending.md, followed step by step in a fresh clone."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.project import ROOT, Project

PAGE = (ROOT / "docs/extending.md").read_text()
BLOCK = re.compile(r"^```(python|diff|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Named before a block: the file that it is, or that it changes.
FILE = re.compile(r"`((?:pipeline|stages)/[\w/]+\.py)`:\n")


def follow(project: Project) -> list[dict[str, Any]]:
    """Do what the page says; return the metrics after each command.

    Experiments end with the training; what comes later, other tests run.
    """
    metrics: list[dict[str, Any]] = []
    for block in BLOCK.finditer(PAGE):
        kind, text = block.groups()
        path = project.folder / FILE.findall(PAGE[: block.start()])[-1]
        if kind == "python":
            path.write_text(text)
        elif kind == "diff":
            old, new = ("".join(re.findall(rf"^\{sign}(.*\n)", text, re.M)) for sign in "-+")
            assert path.read_text().count(old) == 1, old
            path.write_text(path.read_text().replace(old, new))
        for command in re.findall(r"^\$ (dvc .*)$", text, re.MULTILINE):
            project.call(*shlex.split(command), *(["train"] if "exp run" in command else []))
            files = sorted((project.folder / "metrics").glob("*.json"))
            metrics.append({k: v for f in files for k, v in json.loads(f.read_text()).items()})
    return metrics


def test_each_step_of_the_page_takes_effect(
    reproduced: Callable[[Path], Project], tmp_path: Path
) -> None:
    network, optimizer, augmentation, loss, metric = follow(reproduced(tmp_path))
    convolutions = (3 * 9 + 1) * 16 + (16 * 9 + 1) * 32 + (32 * 9 + 1) * 64
    dense = (4 * 4 * 64 + 1) * 10
    trainings = [step["training"][0] for step in (network, optimizer, augmentation, loss)]
    assert {training["parameters"] for training in trainings} == {convolutions + dense}
    assert len({training["train_loss"] for training in trainings}) == 4
    assert metric["accuracy"] <= metric["top_3_accuracy"] <= 1
