"""A sweep through DVC's queue, its picture, and what becomes of an experiment."""

import csv
import io
import json
from pathlib import Path

import dvc.api
import pandas as pd
import pytest
from dvc.repo import Repo

from pipeline.evaluation.metrics import calibration_table, expected_calibration_error
from tests.project import MakeProject, Project, Stage, assert_refused, wait_for

# What is swept is of evaluate, whose runs are the shortest.
BINS, TTA = "evaluate.calibration_bins", "evaluate.test_time_augmentation"
METRIC = "calibration_error"


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
    for row in rows:
        text = dvc.api.read("plots/predictions.csv", str(project.folder), rev=row["Experiment"])
        table = pd.read_csv(io.StringIO(text))
        right = (table["actual"] == table["predicted"]).to_numpy()
        bins = calibration_table(table["confidence"].to_numpy(), right, int(row[BINS]))
        assert float(row[METRIC]) == pytest.approx(expected_calibration_error(bins), abs=1e-5)
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
    best = min(shown(project), key=lambda row: float(row[METRIC]))
    project.dvc("exp", "apply", best["Experiment"])
    assert project.params()["evaluate"]["test_time_augmentation"] == best[TTA]
    assert project.repro("evaluate") == set()


def test_another_seed_that_is_trained_and_not_evaluated(
    project: Project, call_stage: Stage
) -> None:
    """The experiment has the test results of the commit, which are of another model."""
    project.git("checkout", "--quiet", ".")
    project.dvc("exp", "run", "train", "--name", "half", "-S", "seed=1")
    assert "plots/history.csv" in project.git("diff", "--name-only")
    for revision in ("half", "workspace"):
        refused = call_stage("compare", project.folder, "HEAD", revision)
        assert_refused(refused, f"predictions.csv of {revision}: ", " of another model than ")
