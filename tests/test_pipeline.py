"""The pipeline as its users drive it: the real dvc on a real Git repository, on real images."""

import csv
import io
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dvc.repo import Repo

from tests.project import STAGES, Project, name_of, put, run, stages_run

FROM_TRAIN = {"train", "evaluate", "plots"}


@pytest.fixture(scope="module")
def project(
    reproduced: Callable[[Path], Project], tmp_path_factory: pytest.TempPathFactory
) -> Project:
    """Return a project whose first `dvc repro` has run and is committed."""
    return reproduced(tmp_path_factory.mktemp("a folder with spaces") / "Übung")


@pytest.fixture(autouse=True)
def unchanged(project: Project) -> Any:
    """Bring the project back to its first run after a test."""
    yield
    project.git("reset", "--quiet", "--hard")
    with Repo(str(project.folder)) as repo:
        repo.checkout()


def test_second_run_does_nothing(project: Project) -> None:
    start = time.monotonic()
    output = project.dvc("repro")
    assert time.monotonic() - start < 10
    assert "Data and pipelines are up to date." in output
    assert "Running stage" not in output


@pytest.mark.parametrize(
    ("key", "value", "stages"),
    [
        ("fetch.attempts", 2, {"fetch"}),
        ("preprocess.test_size", 150, {"preprocess", "evaluate", "plots"}),
        ("recipes.tutorial.epochs", 1, set()),
        ("evaluate.calibration_bins", 10, {"evaluate", "plots"}),
        ("plots.dpi", 60, {"plots"}),
    ],
    ids=name_of,
)
def test_stages_that_run_after_an_edit(
    project: Project, key: str, value: Any, stages: set[str]
) -> None:
    params = project.params()
    put(params, key, value)
    project.write(params)
    assert project.repro() == stages
    assert project.changed() == set()


@pytest.mark.parametrize("name", STAGES)
def test_stage_run_again_gives_the_same_bytes(project: Project, name: str) -> None:
    """A comment in a stage's code reruns that stage; the rest is spared, since nothing changed."""
    with (project.folder / f"stages/{name}/__main__.py").open("a") as file:
        file.write("# A comment.\n")
    assert project.repro() == {name}
    assert project.git("status", "--porcelain", "data", "metrics", "plots") == ""


@pytest.mark.parametrize(
    ("damage", "out"),
    [
        ("delete", "data/raw/test_batch.bin"),
        ("flip", "data/raw/test_batch.bin"),
        ("flip", "data/processed/test/images.npy"),
        ("delete", "models/model.keras"),
        ("flip", "metrics/evaluate.json"),
        ("flip", "plots/history.csv"),
        ("delete", "plots/samples.png"),
    ],
)
def test_lost_or_changed_out_comes_back(project: Project, out: str, damage: str) -> None:
    path = project.folder / out
    content = path.read_bytes()
    path.unlink()
    if damage == "flip":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert project.repro() == set()
    assert path.read_bytes() == content


def test_failed_stage_names_the_key_and_loses_nothing(project: Project) -> None:
    model = (project.folder / "models/model.keras").read_bytes()
    params = project.params()
    put(params, "recipes.airbench_small.epochs", 0)
    project.write(params)
    result = run(["dvc", "repro"], project.folder, PYTHONPATH="")
    assert result.returncode != 0
    line = "error: params.yaml: recipes.airbench_small.epochs = 0: "
    assert sum(text.startswith(line) for text in result.stderr.splitlines()) == 1
    project.git("checkout", "params.yaml")
    project.dvc("checkout")
    assert (project.folder / "models/model.keras").read_bytes() == model


def read_json(project: Project, path: str) -> dict[str, Any]:
    return json.loads((project.folder / path).read_text())


def read_csv(project: Project, path: str) -> list[dict[str, str]]:
    with (project.folder / path).open() as file:
        return list(csv.DictReader(file))


def test_metrics_show(project: Project) -> None:
    shown = json.loads(project.dvc("metrics", "show", "--json"))[""]["data"]
    for path in ("metrics/train.json", "metrics/evaluate.json"):
        # DVC shows numbers and texts, and no lists: scores of the classes, the environment.
        stored = {k: v for k, v in read_json(project, path).items() if not isinstance(v, list)}
        assert shown[path]["data"] == stored
    metrics = read_json(project, "metrics/evaluate.json")
    rows = read_csv(project, "plots/predictions.csv")
    right = sum(row["actual"] == row["predicted"] for row in rows)
    assert len(rows) == 200
    assert metrics["accuracy"] == right / 200
    assert metrics["accuracy_low"] < metrics["accuracy"] < metrics["accuracy_high"]


@pytest.mark.parametrize("validation_split", [0.2, 0.0])
def test_plots_show(project: Project, validation_split: float) -> None:
    if validation_split != 0.2:
        params = project.params()
        put(params, "preprocess.validation_split", validation_split)
        project.write(params)
        assert project.repro() == {"preprocess", *FROM_TRAIN}
    project.dvc("plots", "show", "--out", "page")
    page = (project.folder / "page/index.html").read_text()
    images = re.findall(r'<img[^>]*src="([^"]+\.png)"', page)
    assert len(images) == 7
    for image in images:
        assert (project.folder / "page" / image).read_bytes().startswith(b"\x89PNG")

    charts = json.loads(project.dvc("plots", "show", "--json"))["data"]
    rows = {
        name: chart[0]["content"]["data"]["values"]
        for name, chart in charts.items()
        if "content" in chart[0]
    }
    history = read_csv(project, "plots/history.csv")
    assert ("val_loss" in history[0]) == (validation_split > 0)
    for name in ("loss", "accuracy", "plots/history.csv"):
        assert [row | {"rev": "workspace"} for row in history] == [
            {key: row[key] for key in [*history[0], "rev"]} for row in rows[name]
        ]
        assert charts[name][0]["content"]["title"]["text"] in page
    predictions = read_csv(project, "plots/predictions.csv")
    assert [(row["actual"], row["predicted"]) for row in rows["confusion"]] == [
        (row["actual"], row["predicted"]) for row in predictions
    ]
    per_class = read_json(project, "metrics/evaluate.json")["per_class"]
    assert {row["class"]: row["f1"] for row in rows["f1"]} == {
        row["class"]: row["f1"] for row in per_class
    }
    corruptions = read_json(project, "metrics/evaluate.json")["corruptions"]
    assert [
        {"corruption": row["corruption"], "accuracy": float(row["accuracy"])}
        for row in rows["plots/corruptions.csv"]
    ] == corruptions
    assert len(corruptions) == 1 + len(project.params()["evaluate"]["corruptions"])
    assert len(rows["plots/calibration.csv"]) == len(read_csv(project, "plots/calibration.csv"))


def test_experiment_with_another_recipe(project: Project) -> None:
    before = read_json(project, "metrics/evaluate.json")
    output = project.dvc("exp", "run", "--name", "letter", "-S", "recipe=tutorial")
    assert stages_run(output) == FROM_TRAIN
    assert project.params()["recipe"] == "tutorial"
    metrics = read_json(project, "metrics/evaluate.json")
    assert metrics["loss"] != before["loss"]
    loss = json.loads(project.dvc("metrics", "diff", "--json"))["metrics/evaluate.json"]["loss"]
    assert (loss["old"], loss["new"]) == (before["loss"], metrics["loss"])
    changes = json.loads(project.dvc("params", "diff", "--json"))["params.yaml"]
    assert changes["recipe"] == {"old": "airbench_small", "new": "tutorial"}

    table = csv.DictReader(io.StringIO(project.dvc("exp", "show", "--csv")))
    row = {row["Experiment"]: row for row in table}["letter"]
    assert row["recipe"] == "tutorial"
    assert float(row["accuracy"]) == metrics["accuracy"]
    project.dvc("exp", "remove", "letter")
