"""The project as tests drive it: commands, parameters, and a Git repository with the pipeline."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml
from dvc.repo import Repo

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("fetch", "preprocess", "train", "evaluate", "plots")

# Many steps an epoch, so that the end is far when the first checkpoint is there.
SLOW_EPOCHS = 3
SLOW = {"epochs": SLOW_EPOCHS, "batch_size": 20}

Params = dict[str, Any]
Run = subprocess.CompletedProcess[str]
Process = subprocess.Popen[str]
# Runs a stage or tool, named first, in a folder.
Stage = Callable[..., Run]


def environment_of_tests(**more: str) -> dict[str, str]:
    """Return an environment with this interpreter's programs and the project's modules."""
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": programs, "PYTHONPATH": str(ROOT)} | more


def run(command: list[str], folder: Path, **environment: str) -> Run:
    """Run a command in `folder`, with this interpreter's programs and the project's modules."""
    env = environment_of_tests(**environment)
    return subprocess.run(command, cwd=folder, env=env, text=True, capture_output=True)


def run_with_mounts(script: str, folder: Path, **environment: str) -> Run:
    """Run a shell script that may mount disks; they are gone afterwards."""
    namespace = ["unshare", "--user", "--map-root-user", "--mount"]
    return run([*namespace, "sh", "-c", script], folder, **environment)


def start(command: Iterable[str], folder: Path, **environment: str) -> Process:
    """Start a command as a terminal does, whose Ctrl-C reaches all that it starts."""
    return subprocess.Popen(
        [*command],
        cwd=folder,
        env=environment_of_tests(**environment),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def wait_for(happened: Callable[[], Any], process: Process | None = None) -> Any:
    """Return what happens while a process runs, within five minutes."""
    end = time.monotonic() + 300
    while not (found := happened()):
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)
    return found


def run_stage(name: str, folder: Path, **environment: str) -> Run:
    return run([sys.executable, "-m", f"stages.{name}"], folder, **environment)


def printed(result: Run) -> str:
    """Return what a program printed, which must have succeeded."""
    assert result.returncode == 0, f"{result.args}\n{result.stdout}\n{result.stderr}"
    return result.stdout


def succeed(stage: str, folder: Path) -> str:
    """Run a stage, which must succeed; return what it printed."""
    return printed(run_stage(stage, folder))


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


def default_params() -> Params:
    return yaml.safe_load((ROOT / "params.yaml").read_text())


def get(params: Params, key: str) -> Any:
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


def folder_to_train(source: Path, folder: Path, recipe: str, **settings: object) -> Path:
    """Return a folder with the data of another one and its parameters, but this recipe."""
    folder.mkdir(exist_ok=True)
    (folder / "data").symlink_to(source / "data")
    params = Project(source).params() | {"recipe": recipe}
    params["recipes"][recipe] |= settings
    write_params(folder, params)
    return folder


class Project:
    """A Git repository with the pipeline in it, driven through its command lines."""

    def __init__(self, folder: Path):
        self.folder = folder

    def call(self, *command: str) -> str:
        """Run a command that must succeed; return its standard output."""
        return printed(run([*command], self.folder, PYTHONPATH=""))

    def git(self, *arguments: str) -> str:
        return self.call("git", *arguments)

    def dvc(self, *arguments: str) -> str:
        return self.call("dvc", *arguments)

    def init(self) -> None:
        """Make it a Git repository."""
        self.git("init", "--quiet", "--initial-branch=main")
        self.git("config", "user.name", "Test")
        self.git("config", "user.email", "test@example.com")

    def commit(self, message: str) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)

    def repro(self, *arguments: str) -> set[str]:
        """Run `dvc repro`; return the names of the stages whose command ran."""
        return stages_run(self.dvc("repro", *arguments))

    def changed(self) -> set[str]:
        """Return the stages that `dvc status` finds changed themselves.

        By DVC's own function, since its command takes three times as long to start.
        """
        with Repo(str(self.folder)) as repo:
            # From another folder, DVC names a stage with the path to its dvc.yaml.
            return {name.rpartition(":")[2] for name in repo.status()}

    def params(self) -> Params:
        return yaml.safe_load((self.folder / "params.yaml").read_text())

    def edit(self, values: Params) -> None:
        """Set values of params.yaml by their dotted keys."""
        params = self.params()
        for key, value in values.items():
            put(params, key, value)
        write_params(self.folder, params)

    def json(self, path: str) -> Any:
        return json.loads((self.folder / path).read_text())


# Makes a project in a folder.
MakeProject = Callable[[Path], Project]
# Fills a folder of this name, once for all workers, and returns it.
Once = Callable[[str, Callable[[Path], None]], Path]
