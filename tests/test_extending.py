"""docs/extending.md, followed step by step in a fresh clone."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

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


@pytest.fixture(scope="module")
def trainings(
    reproduced: Callable[[Path], Project], tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    """Return what each training of the page gave."""
    return follow(reproduced(tmp_path_factory.mktemp("extended")))


def test_the_network_is_trained(trainings: list[dict[str, Any]]) -> None:
    convolutions = (3 * 9 + 1) * 16 + (16 * 9 + 1) * 32 + (32 * 9 + 1) * 64
    dense = (4 * 4 * 64 + 1) * 10
    small, *_ = trainings
    assert small["training"][0]["parameters"] == convolutions + dense


def test_the_optimizer_trains_the_network(trainings: list[dict[str, Any]]) -> None:
    small, lion, *_ = trainings
    (plain,), (other,) = small["training"], lion["training"]
    assert other["parameters"] == plain["parameters"]
    assert other["train_loss"] != plain["train_loss"]


def test_the_augmentation_and_the_loss_change_the_training(trainings: list[dict[str, Any]]) -> None:
    _, lion, grey, focal, _ = trainings
    assert len({trained["training"][0]["train_loss"] for trained in (lion, grey, focal)}) == 3


def test_the_metric_is_measured(trainings: list[dict[str, Any]]) -> None:
    *_, measured = trainings
    assert measured["accuracy"] <= measured["top_3_accuracy"] <= 1
