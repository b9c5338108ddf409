"""The project as tests drive it: commands, parameters, and a Git repository with the pipeline."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from dvc.repo import Repo

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("fetch", "preprocess", "train", "evaluate", "plots")
# What a user runs besides the pipeline: python -m tools.NAME.
TOOLS = (*sorted(path.stem for path in (ROOT / "tools").glob("[!_]*.py")), "sweep")

# Many steps an epoch, so that the end is far when the first checkpoint is there.
SLOW_EPOCHS = 3
SLOW = {"epochs": SLOW_EPOCHS, "batch_size": 20}

Params = dict[str, Any]
Run = subprocess.CompletedProcess[str]
# Runs a stage or tool, named first, in a folder.
Stage = Callable[..., Run]
# Makes a project in a folder in which one edit of params.yaml, a key and its value, was reproduced.
Edited = Callable[[Path, str, object], "Project"]


def environment_of_tests(**more: str) -> dict[str, str]:
    """Return an environment with this interpreter's programs and the project's modules."""
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": programs, "PYTHONPATH": str(ROOT)} | more


def run(command: list[str], folder: Path, **environment: str) -> Run:
    """Run a command in `folder`, with this interpreter's programs and the project's modules."""
    env = environment_of_tests(**environment)
    return subprocess.run(command, cwd=folder, env=env, text=True, capture_output=True)


def run_stage(name: str, folder: Path, **environment: str) -> Run:
    """Run the entry point of a stage in `folder`."""
    return run([sys.executable, "-m", f"stages.{name}"], folder, **environment)


def succeed(stage: str, folder: Path) -> None:
    """Run a stage, which must succeed."""
    result = run_stage(stage, folder)
    assert result.returncode == 0, result.stderr


def assert_refused(result: Run, *parts: str) -> None:
    """Assert that a stage ended with exit code 2 and one line that holds each of `parts`."""
    assert result.returncode == 2, result.stdout + result.stderr
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    for part in parts:
        assert part in lines[0]


def stages_run(output: str) -> set[str]:
    """Return the names of the stages whose command ran, by what DVC printed."""
    return set(re.findall(r"^Running stage '(\w+)':$", output, re.MULTILINE))


def name_of(value: Any) -> str:
    """Return the name of a test's parameter, the same in every worker, whatever order a set has."""
    return " ".join(sorted(value)) or "none" if isinstance(value, set) else str(value)


def default_params() -> Params:
    """Return the params.yaml of the project."""
    return yaml.safe_load((ROOT / "params.yaml").read_text())


def get(params: Params, key: str) -> Any:
    """Return the value at a dotted key."""
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
    """Return parameters that train a small network on a few real images in seconds."""
    params = default_params()
    params["fetch"]["sources"] = [str(raw)]
    params["preprocess"] |= {"train_size": 500, "test_size": 200}
    recipes = params["recipes"]
    for name in ("airbench_small", "tutorial", "resnet20"):
        recipes[name] |= {"batch_size": 100, "epochs": 2}
    recipes["airbench_small"]["network"] |= {
        "widths": [4, 32, 32],  # From block 2b on, enough for Winograd.
        "whitening_images": 100,
        "whitening_epochs": 2,  # One phase, since TensorFlow compiles a step for each.
    }
    recipes["airbench_small"]["augmentation"]["small_image_fraction"] = 0.0
    recipes["tutorial"]["network"] |= {"filters": [4, 4, 4], "dense_units": 8}
    recipes["resnet20"]["network"] |= {"depth": 8, "width": 4}
    # Of every image, as `predict` takes them too.
    params["evaluate"] |= {"test_time_augmentation": "flip_translate", "corruptions": ["jpeg_75"]}
    params["plots"] = {"columns": 3, "rows": 1, "dpi": 50}
    return params


def slow_folder(recipe: str, arrays: Path, folder: Path, **settings: object) -> Path:
    """Return a folder in which a recipe can be trained for a few epochs, of many steps as it is."""
    (folder / "data").symlink_to(arrays / "data")
    params = yaml.safe_load((arrays / "params.yaml").read_text()) | {"recipe": recipe}
    params["recipes"][recipe] |= SLOW | settings
    write_params(folder, params)
    return folder


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
        """Return the stages that `dvc status` finds changed themselves.

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
        """Return the parameters."""
        return yaml.safe_load((self.folder / "params.yaml").read_text())

    def write(self, params: Params) -> None:
        """Replace the parameters."""
        write_params(self.folder, params)
