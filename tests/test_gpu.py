"""What is installed and said where an NVIDIA driver answers: here, a library of one function."""

import re
import shutil
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from pipeline.common import nvidia
from tests.project import ROOT, printed, run

LOCK, CUDA_LOCK = "requirements.lock", "requirements-gpu.lock"
NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE
Driver = tuple[Path, bool]


@pytest.fixture(scope="module", params=[0, NO_DEVICE, None], ids=["GPU", "no GPU", "no driver"])
def driver(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Driver:
    """Return a folder with a driver, by what its start returns, or without, and if it answers."""
    folder = tmp_path_factory.mktemp("driver")
    if request.param is not None:
        if not shutil.which("cc"):
            pytest.skip("needs a C compiler")
        source = f"int cuInit(unsigned flags) {{ return {request.param}; }}"
        command = ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", f"{folder}/libcuda.so.1"]
        subprocess.run(command, input=source, text=True, check=True)
    return folder, request.param == 0


def installed_by_make(folder: Path, driver: Path) -> list[str]:
    """Return the locks that `make repro` would install, one after the other."""
    command = ["make", "--no-print-directory", "--dry-run", "repro", f"PYTHON={sys.executable}"]
    told = printed(run(command, folder, LD_LIBRARY_PATH=str(driver)))
    steps, last, _ = told.rpartition("dvc repro\n")
    assert last
    installed = re.findall(r"uv pip install --python \S+ --require-hashes -r (\S+) ", steps)
    # By pip where uv fails.
    assert re.findall(r"\|\| \S+ -m pip install .* -r (\S+)$", steps, re.MULTILINE) == installed
    return installed


def test_make_installs_cudas_packages_where_a_driver_answers(
    tmp_path: Path, driver: Driver
) -> None:
    """Into the environment that there is, too; nothing else is installed again."""
    folder, answers = driver
    (tmp_path / "pipeline/common").mkdir(parents=True)
    for name in ("Makefile", LOCK, CUDA_LOCK, "pipeline/common/nvidia.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    cuda = [CUDA_LOCK] if answers else []
    assert installed_by_make(tmp_path, folder) == [LOCK, *cuda]
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/.installed").touch()
    assert installed_by_make(tmp_path, folder) == cuda
    (tmp_path / ".venv/.cuda").touch()
    assert installed_by_make(tmp_path, folder) == []


def test_cudas_packages_are_those_that_tensorflow_asks_for() -> None:
    wanted = {
        requirement.name: requirement.specifier
        for requirement in map(Requirement, requires("tensorflow") or [])
        if requirement.marker and requirement.marker.evaluate({"extra": "and-cuda"})
        if not requirement.marker.evaluate({"extra": ""})
    }
    # The locked version of each.
    versions = dict(re.findall(r"^(\S+)==(\S+)", (ROOT / CUDA_LOCK).read_text(), re.M))
    assert versions.keys() == wanted.keys()
    assert all(version in wanted[name] for name, version in versions.items())


def test_what_keeps_tensorflow_from_the_gpu_is_said(
    monkeypatch: pytest.MonkeyPatch, driver: Driver
) -> None:
    folder, answers = driver
    monkeypatch.setattr(nvidia, "DRIVER", f"{folder}/libcuda.so.1")
    assert nvidia.why_unseen().startswith("an NVIDIA driver answers, but ") == answers
