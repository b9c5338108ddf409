"""Full disks and read-only folders: one line that names the file, and nothing half-written.

The disks are real ones, small and in memory.
"""

import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.project import Project, Run, assert_refused, run_with_mounts

FULL = "mount -t tmpfs -o size={size} tmpfs {folder}"
READ_ONLY = "mount --bind {folder} {folder} && mount -o remount,bind,ro {folder}"


def run_on(mount: str, program: str, project: Path, folder: str) -> Run:
    """Run a Python program where `folder` is on a disk of its own, holding what it held before.

    The files that are there in the end are printed.
    """
    (project / folder).mkdir(parents=True, exist_ok=True)
    script = f"""
        cp -r {folder} before && {mount} || exit 100
        [ -w {folder} ] && cp -r before/. {folder}
        '{sys.executable}' -m {program}
        code=$?
        find {folder} -type f
        exit $code
    """
    return run_with_mounts(script, project)


@pytest.fixture
def project(trained: Path, tmp_path: Path) -> Path:
    """Return a folder in which each stage can run anew."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    Project(tmp_path).edit({"recipe": "tutorial", "recipes.tutorial.epochs": 1})
    return tmp_path


@pytest.mark.parametrize(
    ("stage", "folder", "size", "names"),
    [
        ("fetch", "data", "1m", "data/raw: 184,380,000 bytes needed, "),
        ("preprocess", "data/processed", "1m", "data/processed/train/images.npy: 4,915,200 bytes"),
        ("train", ".dvc/tmp/checkpoints", "4k", ".dvc/tmp/checkpoints/workspace-"),
        ("train", "models", "4k", "models/model.keras: "),
        ("evaluate", "metrics", "8k", "metrics/evaluate.json: "),
        ("plots", "plots", "32k", "plots/samples.png: "),
    ],
)
def test_full_disk(project: Path, stage: str, folder: str, size: str, names: str) -> None:
    if stage not in ("evaluate", "plots"):
        shutil.rmtree(project / folder, ignore_errors=True)
    mount = FULL.format(size=size, folder=folder)
    result = run_on(mount, f"stages.{stage}", project, folder)
    assert_refused(result, names, "bytes needed", "free on its disk")
    assert ".unfinished" not in result.stdout


@pytest.mark.parametrize("size", ["40k", "100k"])
def test_full_disk_for_an_export(project: Path, size: str) -> None:
    """Before it is begun, and while TensorFlow writes."""
    program = f"tools.export full/model.tflite --model {project}/models/model.keras"
    result = run_on(FULL.format(size=size, folder="full"), program, project, "full")
    assert_refused(result, "full/model.tflite: ", "bytes needed", "free on its disk")
    assert result.stdout == ""


# The export comes last, since it sets another folder for temporary files.
PROGRAMS = """
import runpy, sys
for command in ("fetch", "train", "plots", "predict a.png", "export"):
    sys.argv = command.split()
    package = "tools" if sys.argv[0] in ("predict", "export") else "stages"
    runpy.run_module(f"{package}.{sys.argv[0]}", run_name="__main__", alter_sys=True)
"""


def test_small_folder_for_temporary_files(project: Path) -> None:
    """Everything that is written is on the disk of its result."""
    Image.new("RGB", (32, 32)).save(project / "a.png")
    (project / "programs.py").write_text(PROGRAMS)
    mount = FULL.format(size="64k", folder="temporary")
    mount += " && export TMPDIR=$PWD/temporary"
    result = run_on(mount, "programs", project, "temporary")
    assert (result.returncode, result.stderr) == (0, "")


def test_read_only_folder(project: Path) -> None:
    result = run_on(READ_ONLY.format(folder="data"), "stages.fetch", project, "data")
    assert_refused(result, "data/.unfinished-downloads", "Read-only file system")
