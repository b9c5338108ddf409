"""What one clone pushes, another pulls, and then has nothing to run."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from dvc.repo import Repo

from tests.project import MakeProject, Project, printed, run, stages_run
from tests.storage import SECRETS, SSHD, STORAGES

FEWER_IMAGES = {"preprocess.test_size": 100}
MODEL = "models/model.keras"
SSH = pytest.param("ssh", marks=pytest.mark.skipif(SSHD is None, reason="sshd is not installed"))


@pytest.fixture(scope="module")
def origin(reproduced: MakeProject, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a project whose first run is committed, and a version of its model tagged."""
    project = reproduced(tmp_path_factory.mktemp("origin"))
    # As `gto` and DVC Studio do it, annotated; DVC looks for no other.
    project.git("tag", "--annotate", "--message", "The first", "classifier@v1.0.0")
    return project


@pytest.fixture(params=[SSH, "s3"])
def shared(
    request: pytest.FixtureRequest,
    origin: Project,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Project]:
    """Return a clone, without a cache, of a project whose results are pushed to a storage."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    with STORAGES[request.param](tmp_path) as (url, options):
        # As `dvc remote add --default` and `dvc remote modify` do it.
        with Repo(str(origin.folder)) as repo, repo.config.edit("repo") as config:
            config["remote"] = {"storage": {"url": url, **options}}
            config["core"]["remote"] = "storage"
        origin.commit(f"Share by {request.param}")
        origin.dvc("push")
        origin.git("clone", "--quiet", ".", str(tmp_path / "clone"))
        yield Project(tmp_path / "clone")


def test_a_second_clone_runs_nothing(origin: Project, shared: Project) -> None:
    shared.dvc("pull")
    assert shared.repro() == set()
    assert (shared.folder / MODEL).read_bytes() == (origin.folder / MODEL).read_bytes()
    assert shared.git("status", "--porcelain") == ""


@pytest.mark.parametrize("shared", ["folder"], indirect=True)
def test_pulling_while_reproducing(origin: Project, shared: Project, tmp_path: Path) -> None:
    origin.edit(FEWER_IMAGES)
    assert origin.repro("preprocess") == {"preprocess"}
    # Only what reads the test images.
    assert origin.changed() == {"evaluate", "plots"}
    origin.dvc("push", "--run-cache")
    origin.git("restore", ".")
    origin.dvc("checkout")

    assert shared.repro("--pull") == set()
    assert shared.git("status", "--porcelain") == ""
    # The run cache serves what the origin ran and did not commit, where DVC has all its outs.
    shared.edit(FEWER_IMAGES)
    assert shared.repro("--pull", "preprocess") == set()

    # By the name that dvc.yaml gives it, in the version that a tag gives it.
    printed(run(["dvc", "artifacts", "get", str(shared.folder), "classifier"], tmp_path))
    assert (tmp_path / "model.keras").read_bytes() == (origin.folder / MODEL).read_bytes()


def test_what_ran_once_does_not_run_again(edited: MakeProject, tmp_path: Path) -> None:
    """DVC has in its cache what Git keeps, too."""
    project = edited(tmp_path)
    assert stages_run((tmp_path / ".git/output").read_text()) == {"train", "evaluate", "plots"}
    paths = [tmp_path / MODEL, tmp_path / "plots/history.csv"]
    before = [path.read_bytes() for path in paths]
    project.git("restore", "params.yaml")
    assert project.repro() == set()
    assert project.git("status", "--porcelain") == ""
    project.edit({"recipes.airbench_small.epochs": 1})
    assert project.repro() == set()
    assert [path.read_bytes() for path in paths] == before
