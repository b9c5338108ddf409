"""What several tests need: the published files, and a project of its own for each test."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.repo import Repo
from filelock import FileLock
from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("fetch", "preprocess", "train", "evaluate", "plots")
# What a user runs besides the pipeline: python -m stages.NAME.
TOOLS = ("compare", "export", "importance", "page", "predict", "schema")
TOP_LEVEL = [".dvcignore", ".gitignore", "dvc.yaml", "params.yaml"]
TEMPLATES = [p.relative_to(ROOT).as_posix() for p in (ROOT / ".dvc/plots").glob("*.json")]
DVC_FILES = [".dvc/.gitignore", ".dvc/config", *TEMPLATES]

Params = dict[str, Any]
Run = subprocess.CompletedProcess[str]
Making = Callable[[Path], None]


def environment_of_tests(**more: str) -> dict[str, str]:
    """Give an environment with this interpreter's programs and the project's modules."""
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": programs, "PYTHONPATH": str(ROOT)} | more


def run(command: list[str], folder: Path, **environment: str) -> Run:
    """Run a command in `folder`, with this interpreter's programs and the project's modules."""
    env = environment_of_tests(**environment)
    return subprocess.run(command, cwd=folder, env=env, text=True, capture_output=True)


def run_stage(name: str, folder: Path, **environment: str) -> Run:
    """Run the entry point of a stage in `folder`."""
    return run([sys.executable, "-m", f"stages.{name}"], folder, **environment)


def assert_refused(result: Run, *parts: str) -> None:
    """Assert that a stage ended with exit code 2 and one line that holds each of `parts`."""
    assert result.returncode == 2, result.stdout + result.stderr
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    for part in parts:
        assert part in lines[0]


def stages_run(output: str) -> set[str]:
    """Give the names of the stages whose command ran, by what DVC printed."""
    return set(re.findall(r"^Running stage '(\w+)':$", output, re.MULTILINE))


def name_of(value: Any) -> str:
    """Give the name of a test's parameter, the same in every worker, whatever order a set has."""
    return " ".join(sorted(value)) or "none" if isinstance(value, set) else str(value)


def default_params() -> Params:
    """Give the params.yaml of the project."""
    return yaml.safe_load((ROOT / "params.yaml").read_text())


def get(params: Params, key: str) -> Any:
    """Give the value at a dotted key."""
    for part in key.split("."):
        params = params[part]
    return params


def put(params: Params, key: str, value: Any) -> None:
    """Set the value at a dotted key, which must be another one than before."""
    section, _, last = key.rpartition(".")
    holder = get(params, section) if section else params
    assert last not in holder or holder[last] != value
    holder[last] = value


def write_params(folder: Path, params: Params) -> None:
    """Write `params` as the params.yaml of `folder`."""
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))


def small_params(raw: Path) -> Params:
    """Give parameters that train a small network on a few real images in seconds."""
    params = default_params()
    params["fetch"]["sources"] = [str(raw)]
    params["preprocess"] |= {"train_size": 500, "test_size": 200}
    small = {"batch_size": 100, "epochs": 2}
    params["recipes"]["airbench_small"] |= small | {
        "widths": [4, 32, 32],  # From block 2b on, enough for Winograd.
        "whitening_images": 100,
        "low_resolution_share": 0.0,
    }
    params["recipes"]["tutorial"] |= small | {"filters": 4, "dense_units": 8}
    return params


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Callable[[str, Making], Path]:
    """Give a function that fills a folder, once for all workers; it is not to be changed then."""
    own = tmp_path_factory.getbasetemp()
    shared = own if worker_id == "master" else own.parent

    def made(name: str, make: Making) -> Path:
        folder = shared / name
        with FileLock(f"{folder}.lock"):
            if not Path(f"{folder}.made").exists():
                folder.mkdir()
                make(folder)
                Path(f"{folder}.made").touch()
        return folder

    return made


def succeed(stage: str, folder: Path) -> None:
    """Run a stage, which must succeed."""
    result = run_stage(stage, folder)
    assert result.returncode == 0, result.stderr


@pytest.fixture(scope="session")
def raw(once: Callable[[str, Making], Path]) -> Path:
    """Give a folder of the published files, brought by the stage fetch."""

    def make(folder: Path) -> None:
        params = default_params()
        # What the checkout has already is verified like any other source.
        params["fetch"]["sources"].insert(0, str(ROOT / "data/raw"))
        write_params(folder, params)
        succeed("fetch", folder)

    return once("published", make) / "data/raw"


@pytest.fixture(scope="session")
def arrays(raw: Path, once: Callable[[str, Making], Path]) -> Path:
    """Give a folder with data/raw and the few arrays of `small_params`."""

    def make(folder: Path) -> None:
        (folder / "data").mkdir()
        (folder / "data/raw").symlink_to(raw)
        write_params(folder, small_params(raw))
        succeed("preprocess", folder)

    return once("arrays", make)


@pytest.fixture(scope="session")
def trained(arrays: Path, once: Callable[[str, Making], Path]) -> Path:
    """Give a folder in which train and evaluate have run on `arrays`."""

    def make(folder: Path) -> None:
        (folder / "data").symlink_to(arrays / "data")
        shutil.copy(arrays / "params.yaml", folder)
        for stage in ("train", "evaluate"):
            succeed(stage, folder)

    return once("trained", make)


@pytest.fixture(scope="session")
def make_project(raw: Path) -> Callable[[Path], "Project"]:
    """Give a function that makes the project anew, small, as a Git repository in a folder."""

    def make(folder: Path) -> Project:
        shutil.copytree(
            ROOT / "stages", folder / "stages", ignore=shutil.ignore_patterns("__pycache__")
        )
        for name in TOP_LEVEL + DVC_FILES:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
        write_params(folder, small_params(raw))
        project = Project(folder)
        project.git("init", "--quiet", "--initial-branch=main")
        project.git("config", "user.name", "Test")
        project.git("config", "user.email", "test@example.com")
        project.commit("Start")
        return project

    return make


def copy_or_link(source: str, target: str) -> None:
    """Copy a file, or link it where it is DVC's cache, whose files nothing changes in place."""
    copy = os.link if "/.dvc/cache/" in source else shutil.copy2
    copy(source, target)


@pytest.fixture(scope="session")
def reproduced(
    make_project: Callable[[Path], "Project"], once: Callable[[str, Making], Path]
) -> Callable[[Path], "Project"]:
    """Give a function that copies a project whose first `dvc repro` has run and is committed."""

    def make(folder: Path) -> None:
        project = make_project(folder)
        assert project.repro() == set(STAGES)
        project.commit("Run")

    template = once("reproduced", make)

    def copied(folder: Path) -> Project:
        shutil.copytree(
            template, folder, symlinks=True, dirs_exist_ok=True, copy_function=copy_or_link
        )
        return Project(folder)

    return copied


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Give a real browser, Chromium."""
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip("Chromium is not installed")
    with sync_playwright() as playwright:
        # As root, which continuous integration often is, Chromium runs without its sandbox only.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


class Project:
    """A Git repository with the pipeline in it, driven through its command lines."""

    def __init__(self, folder: Path):
        """Take a folder that holds the project's files."""
        self.folder = folder

    def call(self, *command: str) -> str:
        """Run a command that must succeed and give its standard output."""
        result = run([*command], self.folder, PYTHONPATH="")
        assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
        return result.stdout

    def git(self, *arguments: str) -> str:
        """Run git and give its output."""
        return self.call("git", *arguments)

    def dvc(self, *arguments: str) -> str:
        """Run dvc and give its output."""
        return self.call("dvc", *arguments)

    def repro(self, *arguments: str) -> set[str]:
        """Run `dvc repro` and give the names of the stages whose command ran."""
        return stages_run(self.dvc("repro", *arguments))

    def changed(self) -> set[str]:
        """Give the stages that `dvc status` finds changed themselves.

        By DVC's own function instead of its command, which takes three times as long to start.
        """
        with Repo(str(self.folder)) as repo:
            # From another folder, DVC names a stage with the path to its dvc.yaml.
            return {name.rpartition(":")[2] for name in repo.status()}

    def commit(self, message: str) -> None:
        """Commit everything."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)

    def params(self) -> Params:
        """Give the parameters."""
        return yaml.safe_load((self.folder / "params.yaml").read_text())

    def write(self, params: Params) -> None:
        """Replace the parameters."""
        write_params(self.folder, params)
