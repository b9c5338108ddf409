"""What several tests need: the published files, and a project of its own for each test."""

import os
import runpy
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import chdir
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from playwright.sync_api import Browser, sync_playwright

import tools as tools  # For Git and DVC to look in each test's folder, even within a hook of Git.
from tests.project import (
    ROOT,
    SLOW,
    STAGES,
    MakeProject,
    Once,
    Project,
    Run,
    Stage,
    default_params,
    folder_to_train,
    small_params,
    succeed,
    write_params,
)

FILES = [".dvcignore", ".gitattributes", ".gitignore", "dvc.yaml", "params.yaml", "models/none"]
FILES += [".dvc/.gitignore", ".dvc/config"]


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Once:
    """Return a function that fills a folder, once for all workers; it is not to be changed then."""
    own = tmp_path_factory.getbasetemp()
    shared = own if worker_id == "master" else own.parent

    def made(name: str, make: Callable[[Path], None]) -> Path:
        folder = shared / name
        with FileLock(f"{folder}.lock"):
            if not Path(f"{folder}.made").exists():
                folder.mkdir()
                make(folder)
                Path(f"{folder}.made").touch()
        return folder

    return made


@pytest.fixture(scope="session")
def raw(once: Once) -> Path:
    """Return a folder of the published files, brought by the stage fetch."""

    def make(folder: Path) -> None:
        params = default_params()
        # What the checkout has already is verified like any other source.
        params["fetch"]["sources"].insert(0, str(ROOT / "data/raw"))
        write_params(folder, params)
        succeed("fetch", folder)

    return once("published", make) / "data/raw"


@pytest.fixture(scope="session")
def arrays(raw: Path, once: Once) -> Path:
    """Return a folder with data/raw and the few arrays of `small_params`."""

    def make(folder: Path) -> None:
        (folder / "data").mkdir()
        (folder / "data/raw").symlink_to(raw)
        write_params(folder, small_params(raw))
        succeed("preprocess", folder)

    return once("arrays", make)


@pytest.fixture(scope="session")
def slow(arrays: Path, once: Once) -> Path:
    """Return a folder in which the tutorial was trained for several epochs of many steps."""

    def make(folder: Path) -> None:
        succeed("train", folder_to_train(arrays, folder, "tutorial", **SLOW))

    return once("slow", make)


@pytest.fixture(scope="session")
def make_project(raw: Path) -> MakeProject:
    """Return a function that makes the project anew, small, as a Git repository in a folder."""

    def make(folder: Path) -> Project:
        compiled = shutil.ignore_patterns("__pycache__")
        for name in ("pipeline", "stages", "tools", ".dvc/plots"):
            shutil.copytree(ROOT / name, folder / name, ignore=compiled)
        for name in FILES:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
        write_params(folder, small_params(raw))
        project = Project(folder)
        project.init()
        project.commit("Start")
        return project

    return make


def copy_or_link(source: str, target: str) -> None:
    """Copy a file, or link it where it is DVC's cache, whose files nothing changes in place."""
    copy = os.link if "/.dvc/cache/" in source else shutil.copy2
    copy(source, target)


@pytest.fixture(scope="session")
def template(make_project: MakeProject, once: Once) -> Path:
    """Return the folder of a project whose first `dvc repro` has run and is committed."""

    def make(folder: Path) -> None:
        project = make_project(folder)
        assert project.repro() == set(STAGES)
        project.commit("Run")

    return once("reproduced", make)


def copied(source: Path, folder: Path) -> Project:
    """Return a copy of a project."""
    shutil.copytree(source, folder, symlinks=True, dirs_exist_ok=True, copy_function=copy_or_link)
    return Project(folder)


@pytest.fixture(scope="session")
def reproduced(template: Path) -> MakeProject:
    """Return a function that copies a project whose first `dvc repro` has run and is committed."""
    return partial(copied, template)


@pytest.fixture(scope="session")
def edited(template: Path, once: Once) -> MakeProject:
    """Return a function that copies a project in which fewer epochs were reproduced.

    The edit is not committed. What `dvc repro` printed is in .git/output.
    """

    def make(folder: Path) -> None:
        project = copied(template, folder)
        project.edit({"recipes.airbench_small.epochs": 1})
        (folder / ".git/output").write_text(project.dvc("repro"))

    return partial(copied, once("edited", make))


@pytest.fixture(scope="session")
def trained(template: Path, once: Once) -> Path:
    """Return a folder in which train and evaluate have run, and plots not yet."""

    def make(folder: Path) -> None:
        (folder / "data").symlink_to(template / "data")
        shutil.copy(template / "params.yaml", folder)
        figures = shutil.ignore_patterns("*.png")
        for outs in ("models", "metrics", "plots"):
            shutil.copytree(template / outs, folder / outs, ignore=figures)

    return once("trained", make)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the current folder, a new one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def float32_afterwards() -> Iterator[None]:
    """Leave Keras as it was, where a test has trained in this process."""
    yield
    if "keras" in sys.modules:
        sys.modules["keras"].config.set_dtype_policy("float32")


@pytest.fixture
def call_stage(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Return a function that runs a stage or tool in a folder, in this process.

    What `python -m` does after the imports, which take most of its time.
    """

    def called(name: str, folder: Path, *arguments: object) -> Run:
        package = "stages" if name in STAGES else "tools"
        command = [f"{package}.{name}", *map(str, arguments)]
        capfd.readouterr()
        code: Any = 0
        with chdir(folder), monkeypatch.context() as patch:
            patch.setattr(sys, "argv", command)
            # The command export sets it for the rest of its process.
            patch.setattr(tempfile, "tempdir", None)
            # A test may have imported it; runpy warns of running a module anew.
            for module in (f"{command[0]}.__main__", command[0]):
                if not hasattr(sys.modules.get(module), "__path__"):
                    patch.delitem(sys.modules, module, raising=False)
            try:
                runpy.run_module(command[0], run_name="__main__", alter_sys=True)
            except SystemExit as end:
                code = end.code
        return Run(command, code, *capfd.readouterr())

    return called


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Return a real browser, Chromium."""
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip("Chromium is not installed")
    with sync_playwright() as playwright:
        # As root, which continuous integration often is, Chromium runs without its sandbox only.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()
