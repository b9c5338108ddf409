"""A sweep through DVC's queue, what an editor shows, and what becomes of an experiment."""

import csv
import json
from pathlib import Path

import pytest
from dvc.repo import Repo

from tests.project import MakeProject, Project, wait_for

# What is swept is of evaluate, whose runs are the shortest.
BINS, TTA = "evaluate.calibration_bins", "evaluate.test_time_augmentation"


@pytest.fixture(scope="module")
def project(reproduced: MakeProject, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a project with a sweep of two, run by two workers."""
    project = reproduced(tmp_path_factory.mktemp("sweep"))
    settings = ["-S", f"{BINS}=5", "-S", f"{TTA}=choice(none,flip)"]
    project.dvc("exp", "run", "--queue", "evaluate", *settings)
    project.dvc("queue", "start", "--jobs", "2")
    # DVC's command would take a second of a processor that the workers need.
    with Repo(str(project.folder)) as repo:
        queue = repo.experiments.celery_queue
        wait_for(lambda: not [*queue.iter_queued(), *queue.iter_active()])
    return project


def shown(project: Project) -> list[dict[str, str]]:
    """Return what `dvc exp show` tells of each experiment."""
    rows = csv.DictReader(project.dvc("exp", "show", "--csv").splitlines())
    return [row for row in rows if row["typ"].startswith("branch")]


def test_each_result_is_of_its_own_settings(project: Project) -> None:
    rows = shown(project)
    assert {(row[BINS], row[TTA]) for row in rows} == {("5", "none"), ("5", "flip")}
    assert len({row["log_loss"] for row in rows}) == 2
    # Short names: none that two files have, which DVC tells apart as FILE:NAME.
    assert not [name for name in rows[0] if ":" in name]


def test_what_an_editor_asks(project: Project) -> None:
    """The calls of DVC's extension for VS Code, whose tables and plots need no settings then."""
    experiments = json.loads(project.dvc("exp", "show", "--num", "1", "--json"))
    workspace = experiments[0]["data"]
    assert workspace["metrics"].keys() == {"metrics/train.json", "metrics/evaluate.json"}
    assert workspace["params"].keys() == {"params.yaml"}
    command = ["plots", "diff", "HEAD", "--out", ".dvc/tmp/plots", "--split", "--json"]
    plots = json.loads(project.dvc(*command))
    assert "errors" not in plots
    kinds = {name: plot[0]["type"] for name, plot in plots["data"].items()}
    assert sorted(kinds.values()) == ["image"] * 7 + ["vega"] * 8
    for name, plot in plots["data"].items():
        if kinds[name] == "vega":
            rows = plot[0]["anchor_definitions"]["<DVC_METRIC_DATA>"]
            assert {row["rev"] for row in rows} == {"workspace", "HEAD"}, name
            assert "vega-lite" in plot[0]["content"]["$schema"], name
        else:
            assert Path(project.folder / plot[0]["url"]).stat().st_size > 0
    status = json.loads(project.dvc("data", "status", "--granular", "--unchanged", "--json"))
    assert "models/model.keras" in status["unchanged"]


def test_what_an_applied_experiment_ran_does_not_run_again(project: Project) -> None:
    best = min(shown(project), key=lambda row: float(row["log_loss"]))
    project.dvc("exp", "apply", best["Experiment"])
    assert project.params()["evaluate"]["test_time_augmentation"] == best[TTA]
    assert project.repro("evaluate") == set()
