"""What one clone pushes, another pulls, and then has nothing to run."""

from collections.abc import Callable, Iterator
from pathlib import Path

import dvc.api
import pytest
from dvc.repo import Repo

from tests.project import Project, run, stages_run
from tests.storage import SECRETS, SSHD, STORAGES

FEWER_EPOCHS = {"recipes.airbench_small.epochs": 1}
FEWER_IMAGES = {"preprocess.test_size": 100}
MODEL = "models/model.keras"
SSH = pytest.param("ssh", marks=pytest.mark.skipif(SSHD is None, reason="sshd is not installed"))


@pytest.fixture(scope="module")
def origin(
    reproduced: Callable[[Path], Project], tmp_path_factory: pytest.TempPathFactory
) -> Project:
    """Return a project whose first run is committed, and a version of its model tagged."""
    project = reproduced(tmp_path_factory.mktemp("origin"))
    # As `gto` and DVC Studio do it, annotated; DVC looks for no other.
    project.git("tag", "--annotate", "--message", "The first", "classifier@v1.0.0")
    return project


@pytest.fixture(params=["folder", SSH, "s3"])
def shared(
    request: pytest.FixtureRequest,
    origin: Project,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Path]:
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
        yield clone(origin, tmp_path / "clone").folder


def clone(origin: Project, folder: Path) -> Project:
    """Clone the Git repository, without anything of DVC's cache."""
    origin.git("clone", "--quiet", str(origin.folder), str(folder))
    return Project(folder)


def test_a_second_clone_runs_nothing(origin: Project, shared: Path) -> None:
    expected = (origin.folder / MODEL).read_bytes()
    with dvc.api.open(MODEL, repo=str(shared), rev="HEAD", mode="rb") as file:
        assert file.read() == expected
    second = Project(shared)
    second.dvc("pull")
    assert second.repro() == set()
    assert (shared / MODEL).read_bytes() == expected
    assert second.git("status", "--porcelain") == ""


@pytest.mark.parametrize("shared", ["folder"], indirect=True)
def test_pulling_while_reproducing(origin: Project, shared: Path, tmp_path: Path) -> None:
    origin.edit(FEWER_IMAGES)
    assert origin.repro("preprocess") == {"preprocess"}
    origin.dvc("push", "--run-cache")
    origin.git("restore", ".")
    origin.dvc("checkout")

    second = Project(shared)
    assert second.repro("--pull") == set()
    assert second.git("status", "--porcelain") == ""
    # The run cache serves what the origin ran and did not commit, where DVC has all its outs.
    second.edit(FEWER_IMAGES)
    assert second.repro("--pull", "preprocess") == set()

    # By the name that dvc.yaml gives it, in the version that a tag gives it.
    result = run(["dvc", "artifacts", "get", str(shared), "classifier"], tmp_path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "model.keras").read_bytes() == (origin.folder / MODEL).read_bytes()


def test_what_ran_once_does_not_run_again(
    edited: Callable[[Path], Project], tmp_path: Path
) -> None:
    """Not here, and not in a clone with the same cache; DVC pushes no out that Git keeps."""
    origin = edited(tmp_path / "origin")
    assert stages_run((origin.folder / ".git/output").read_text()) == {"train", "evaluate", "plots"}
    origin.git("restore", "params.yaml")
    assert origin.repro() == set()
    assert origin.git("status", "--porcelain") == ""

    second = clone(origin, tmp_path / "clone")
    second.dvc("cache", "dir", "--local", str(origin.folder / ".dvc/cache"))
    second.dvc("checkout")
    for project in (origin, second):
        project.edit(FEWER_EPOCHS)
        assert project.repro() == set()
    for path in (MODEL, "plots/history.csv"):
        assert (second.folder / path).read_bytes() == (origin.folder / path).read_bytes()
