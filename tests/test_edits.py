"""Every edit that a user can make, against the stages that `dvc status` finds changed by it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dvc.repo import Repo
from dvc.utils.flatten import flatten

from tests.project import ROOT, MakeProject, Project


@pytest.fixture(scope="module")
def shared(reproduced: MakeProject, tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = reproduced(tmp_path_factory.mktemp("project"))
    assert project.changed() == set()
    return project


@pytest.fixture
def project(shared: Project) -> Iterator[Project]:
    """Return the project, to be edited; what Git keeps of it is brought back afterwards."""
    yield shared
    shared.git("reset", "--quiet", "--hard")


def other(value: Any) -> Any:
    """Return another value, allowed or not: DVC only compares."""
    if isinstance(value, list):
        return [*value, value[-1]]
    return f"{value}x" if isinstance(value, str | bool) or value is None else value + 1


def readers_of(key: str, recipe: str) -> set[str]:
    """Return the stages that read a key of params.yaml."""
    section, *below = key.split(".")
    if section == "recipes":
        return {"train"} if below[0] == recipe else set()
    several = {
        "device": {"train", "evaluate"},
        # The model's card names it, and where the data is from.
        "seed": {"train", "evaluate"},
        "dataset.name": {"fetch", "preprocess", "evaluate"},
        "dataset.path": {"preprocess", "evaluate"},
        "dataset": {"preprocess"},
        "precision": {"train"},
        "start_from": {"train"},
    }
    return several.get(key) or several.get(section, {section})


def test_edits_of_parameters(project: Project) -> None:
    """All at once: DVC says of each stage by which key it is changed."""
    before = project.params()
    values = {key: other(value) for key, value in flatten(before).items() if key != "recipe"}
    project.edit(values)
    found: dict[str, set[str]] = {key: set() for key in values}
    with Repo(str(project.folder)) as repo:
        for name, (change,) in repo.status().items():
            for section in change["changed deps"]["params.yaml"]:
                for key in values:
                    if f"{key}.".startswith(f"{section}."):
                        found[key].add(name.rpartition(":")[2])
    assert found == {key: readers_of(key, before["recipe"]) for key in values}


def test_another_recipe(project: Project) -> None:
    project.edit({"recipe": "tutorial"})
    assert project.changed() == {"train", "evaluate"}
    project.git("restore", "params.yaml")
    project.edit({"recipes.tutorial.epochs": 99, "recipes.airbench94.epochs": 99})
    assert project.changed() == set()


@pytest.mark.parametrize(
    ("path", "stages"),
    [
        ("pipeline/data/cifar10.py", {"fetch", "preprocess", "evaluate", "plots"}),
        ("pipeline/training/optimizers.py", {"train"}),
        ("stages/plots.py", {"plots"}),
    ],
)
def test_edit_of_a_source_file(project: Project, path: str, stages: set[str]) -> None:
    with (project.folder / path).open("a") as file:
        file.write("# A comment.\n")
    assert project.changed() == stages


def test_dvc_sees_every_source_file(project: Project) -> None:
    with Repo(str(project.folder)) as repo:
        for folder in ("stages", "pipeline"):
            seen = set(repo.dvcignore.find(repo.fs, str(project.folder / folder)))
            sources = [path.relative_to(ROOT) for path in (ROOT / folder).rglob("*.py")]
            assert seen == {str(project.folder / path) for path in sources}


# What vim, Emacs, JetBrains, Kate, notebooks, merges, file managers and network disks leave.
ANYWHERE = [".DS_Store", "._x", "Thumbs.db", "desktop.ini", ".nfs0001", ".fuse_hidden1", "#x#"]
ANYWHERE += ["x.orig", "x.bak", ".x.kate-swp", ".x.swp", ".goutputstream-A1", "x~", ".directory"]
IN_CODE = ["4913", ".idea/x.py", ".ipynb_checkpoints/x.py", "Untitled.ipynb", "x_BASE_12.py"]


def litter(folder: Path, names: list[str]) -> None:
    """Leave files in a folder, and the dangling link by which Emacs locks one."""
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("left by another program")
    (folder / ".#x.py").symlink_to("user@host.123:456")


def test_files_of_editors_change_nothing(reproduced: MakeProject, tmp_path: Path) -> None:
    project = reproduced(tmp_path)
    for name in ("stages", "pipeline", "pipeline/training", "pipeline/data"):
        litter(project.folder / name, ANYWHERE + IN_CODE)
    for name in ("data/raw", "data/processed/train", "plots"):
        litter(project.folder / name, ANYWHERE)
    assert project.changed() == set()
    assert project.repro("--force", "--single-item", "preprocess") == {"preprocess"}
    assert project.changed() == set()
    project.git("add", "plots")
    assert project.git("diff", "--cached", "--name-only") == ""


def test_clone_with_line_ends_of_windows(reproduced: MakeProject, tmp_path: Path) -> None:
    project = reproduced(tmp_path / "project")
    project.git("clone", "--quiet", "--config", "core.autocrlf=true", ".", str(tmp_path / "clone"))
    clone = Project(tmp_path / "clone")
    (clone.folder / ".dvc/cache").symlink_to(project.folder / ".dvc/cache")
    clone.dvc("checkout")
    assert clone.changed() == set()
    assert clone.git("status", "--porcelain") == ""
