"""The pipeline as its users drive it: the real dvc on a real Git repository, on real images."""

import csv
import io
import json
import os
import re
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import pytest
from dvc.repo import Repo

from tests.project import Project, run, stages_run


@pytest.fixture(scope="module")
def project(
    reproduced: Callable[[Path], Project], tmp_path_factory: pytest.TempPathFactory
) -> Project:
    """Return a project whose first `dvc repro` has run and is committed."""
    return reproduced(tmp_path_factory.mktemp("a folder with spaces") / "Übung")


@pytest.fixture(autouse=True)
def unchanged(project: Project) -> Iterator[None]:
    """Bring the project back to its first run after a test."""
    yield
    project.git("reset", "--quiet", "--hard")
    with Repo(str(project.folder)) as repo:
        repo.checkout()


def test_second_run_does_nothing(project: Project) -> None:
    output = project.dvc("repro")
    assert "Data and pipelines are up to date." in output
    assert "Running stage" not in output


def test_only_what_reads_the_test_images_runs_after_an_edit_of_their_number(
    project: Project,
) -> None:
    project.edit({"preprocess.test_size": 150})
    assert project.repro() == {"preprocess", "evaluate", "plots"}
    assert project.changed() == set()


@pytest.mark.parametrize("name", ["fetch", "preprocess"])
def test_stage_run_again_gives_the_same_bytes(project: Project, name: str) -> None:
    """A comment in a stage's code reruns that stage; the rest is spared, since nothing changed.

    test_settings.py checks the bytes of the other stages.
    """
    with (project.folder / f"stages/{name}.py").open("a") as file:
        file.write("# A comment.\n")
    assert project.repro() == {name}
    assert project.git("status", "--porcelain", "data", "metrics", "plots") == ""


def test_lost_and_changed_outs_of_every_stage_come_back(project: Project) -> None:
    lost = ("data/raw/test_batch.bin", "models/model.keras", "plots/samples.png")
    changed = (
        *("data/raw/data_batch_1.bin", "data/processed/test/images.npy"),
        *("metrics/evaluate.json", "plots/history.csv"),
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


def test_what_the_training_writes(project: Project) -> None:
    history = pd.read_csv(project.folder / "plots/history.csv")
    columns = ["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "recipe"]
    assert [*history] == columns
    assert [*history["epoch"]] == [1, 2]
    rate = project.params()["recipes"]["airbench_small"]["optimizer"]["kernel_learning_rate"]
    assert [*history["learning_rate"]] == pytest.approx([rate, rate / 2])
    metrics = project.json("metrics/train.json")
    assert metrics["val_accuracy"] == history["val_accuracy"].iloc[-1]
    assert "epochs_left" not in metrics
    assert metrics["training"][0]["images"] == 400
    assert metrics["environment"][0]["tensorflow"] == version("tensorflow")
    assert metrics["environment"][0]["threads"] == len(os.sched_getaffinity(0))
    assert not [*project.folder.rglob(".unfinished-*")]


def test_metrics_show(project: Project) -> None:
    shown = json.loads(project.dvc("metrics", "show", "--json"))[""]["data"]
    for path in ("metrics/train.json", "metrics/evaluate.json"):
        # DVC shows numbers and texts, and no lists: scores of the classes, the environment.
        stored = {k: v for k, v in project.json(path).items() if not isinstance(v, list)}
        assert shown[path]["data"] == stored
    assert sum(len(file["data"]) for file in shown.values()) <= 8
    predictions = pd.read_csv(project.folder / "plots/predictions.csv")
    assert len(predictions) == 200
    right = predictions["actual"] == predictions["predicted"]
    assert project.json("metrics/evaluate.json")["accuracy"] == right.mean()


def test_experiment_with_another_recipe_and_no_validation_images(project: Project) -> None:
    before = project.json("metrics/evaluate.json")
    settings = ["-S", "recipe=tutorial", "-S", "preprocess.validation_split=0"]
    output = project.dvc("exp", "run", "--name", "letter", *settings)
    assert stages_run(output) == {"preprocess", "train", "evaluate", "plots"}
    metrics = project.json("metrics/evaluate.json")
    assert metrics["log_loss"] != before["log_loss"]
    loss = json.loads(project.dvc("metrics", "diff", "--json"))["metrics/evaluate.json"]["log_loss"]
    assert (loss["old"], loss["new"]) == (before["log_loss"], metrics["log_loss"])
    changes = json.loads(project.dvc("params", "diff", "--json"))["params.yaml"]
    assert changes["recipe"] == {"old": "airbench_small", "new": "tutorial"}

    table = csv.DictReader(io.StringIO(project.dvc("exp", "show", "--csv")))
    row = {row["Experiment"]: row for row in table}["letter"]
    assert row["recipe"] == "tutorial"
    assert float(row["accuracy"]) == metrics["accuracy"]
    assert "val_loss" not in pd.read_csv(project.folder / "plots/history.csv")
    project.dvc("exp", "remove", "letter")

    # Every figure and, by its title, every chart.
    project.dvc("plots", "show", "--out", "page")
    page = (project.folder / "page/index.html").read_text()
    images = re.findall(r'<img[^>]*src="([^"]+\.png)"', page)
    assert len(images) == 7
    for image in images:
        assert (project.folder / "page" / image).read_bytes().startswith(b"\x89PNG")
    charts = json.loads(project.dvc("plots", "show", "--json"))["data"].values()
    titles = [chart[0]["content"]["title"]["text"] for chart in charts if "content" in chart[0]]
    assert len(titles) == 8
    assert all(title in page for title in titles)
