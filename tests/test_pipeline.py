"""The pipeline as its users drive it: the real dvc on a real Git repository, on real images."""

import json
from collections.abc import Iterator

import pandas as pd
import pytest
from dvc.repo import Repo

from tests.project import MakeProject, Project, get, run

HISTORY = "plots/history.csv"


@pytest.fixture(scope="module")
def project(reproduced: MakeProject, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return reproduced(tmp_path_factory.mktemp("a folder with spaces") / "Übung")


@pytest.fixture(autouse=True)
def unchanged(project: Project) -> Iterator[None]:
    """Bring the project back to its first run after a test."""
    yield
    project.git("reset", "--quiet", "--hard")
    with Repo(str(project.folder)) as repo:
        repo.checkout()


def test_lost_and_changed_outs_of_every_stage_come_back(project: Project) -> None:
    lost = ("data/raw/test_batch.bin", "models/model.keras", "plots/samples.png")
    changed = (
        *("data/raw/data_batch_1.bin", "data/processed/test/images.npy"),
        *("metrics/evaluate.json", HISTORY),
    )
    contents = {out: (project.folder / out).read_bytes() for out in lost + changed}
    for out, content in contents.items():
        # It may be a link into DVC's cache.
        (project.folder / out).unlink()
        if out in changed:
            (project.folder / out).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert project.repro() == set()
    for out, content in contents.items():
        assert (project.folder / out).read_bytes() == content, out


def test_failed_stage_names_the_key_and_loses_nothing(project: Project) -> None:
    model = (project.folder / "models/model.keras").read_bytes()
    project.edit({"recipes.airbench_small.epochs": 0})
    result = run(["dvc", "repro"], project.folder, PYTHONPATH="")
    assert result.returncode != 0
    line = "error: params.yaml: recipes.airbench_small.epochs = 0: "
    assert sum(text.startswith(line) for text in result.stderr.splitlines()) == 1
    assert "with the edit undone, `dvc repro` brings the results back" in result.stderr
    project.git("checkout", "params.yaml")
    assert project.repro() == set()
    assert (project.folder / "models/model.keras").read_bytes() == model
    assert project.git("status", "--porcelain", "--untracked-files=no") == ""


def test_metrics_are_few_and_those_of_the_last_epoch(project: Project) -> None:
    metrics = project.json("metrics/train.json") | project.json("metrics/evaluate.json")
    # DVC shows numbers, and no lists: scores of the classes, the environment.
    shown = {k: v for k, v in metrics.items() if not isinstance(v, list)}
    assert all(isinstance(value, float) for value in shown.values())
    assert len(shown) <= 8
    history = pd.read_csv(project.folder / HISTORY)
    assert shown["val_accuracy"] == history["val_accuracy"].iloc[-1]
    rate = get(project.params(), "recipes.airbench_small.optimizer.kernel_learning_rate")
    assert [*history["learning_rate"]] == pytest.approx([rate, rate / 2])
    assert not [*project.folder.rglob(".unfinished-*")]


def test_every_figure_and_chart_is_shown_without_validation_images(project: Project) -> None:
    history = pd.read_csv(project.folder / HISTORY).drop(columns=["val_loss", "val_accuracy"])
    history.to_csv(project.folder / HISTORY, index=False)
    shown = json.loads(project.dvc("plots", "show", "--json"))
    assert "errors" not in shown
    assert len(shown["data"]) == 7 + 8
