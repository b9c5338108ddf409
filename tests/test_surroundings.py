"""Where a project may lie, and how and when it may run: disks, Python's settings, the clock."""

import re
from pathlib import Path

import pytest
import yaml

from tests.project import ROOT, MakeProject, run, run_with_mounts, stages_run

PLACES = {
    "mount": "mkdir -p data && mount -t tmpfs tmpfs data",
    # DVC refuses a data/ that is a link out of the repository; this is its own way to another disk.
    "cache": "mkdir ../elsewhere && mount -t tmpfs tmpfs ../elsewhere"
    " && printf '[cache]\\ndir = ../../elsewhere\\ntype = symlink\\n' > .dvc/config.local",
}


@pytest.mark.parametrize("place", PLACES)
def test_data_on_another_file_system(make_project: MakeProject, tmp_path: Path, place: str) -> None:
    project = make_project(tmp_path / "project")
    script = f"""
        {PLACES[place]} || exit 100
        dvc repro preprocess || exit 101
        rm -r data/raw data/processed
        dvc checkout fetch preprocess || exit 103
        dvc repro preprocess || exit 104
    """
    result = run_with_mounts(script, project.folder, PYTHONPATH="")
    assert result.returncode == 0, result.stdout + result.stderr
    assert stages_run(result.stdout) == {"fetch", "preprocess"}
    assert result.stdout.count("Data and pipelines are up to date.\n") == 1


def test_make_unsets_what_keeps_python_from_importing_or_makes_it_slow(tmp_path: Path) -> None:
    unset = ["PYTHONPATH", "PIP_TARGET", "PIP_PREFIX", "PIP_USER", "PIP_DRY_RUN"]
    unset += ["PYTHONSAFEPATH", "PYTHONDONTWRITEBYTECODE"]
    (tmp_path / "makefile").write_text("include Makefile\nsettings:\n\t@env\n")
    command = ["make", "--no-print-directory", f"--file={tmp_path}/makefile", "settings"]
    result = run(command, ROOT, **dict.fromkeys(unset, "1"), MAKEFLAGS="")
    assert result.returncode == 0, result.stderr
    assert {line.partition("=")[0] for line in result.stdout.splitlines()}.isdisjoint(unset)


def test_stages_import_the_environments_libraries(tmp_path: Path) -> None:
    """Whatever others a cluster's module system puts first, and whatever Python itself is told.

    In the place of each stage stands what imports one of them.
    """
    pipeline = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    (tmp_path / "stages").mkdir()
    for stage in pipeline:
        (tmp_path / f"stages/{stage}.py").write_text("import numpy")
    (tmp_path / "others").mkdir()
    (tmp_path / "others/numpy.py").write_text("raise RuntimeError('of the module system')")
    script = " && ".join(stage["cmd"] for stage in pipeline.values())
    settings = {"PYTHONPATH": str(tmp_path / "others"), "PYTHONSAFEPATH": "1"}
    result = run(["sh", "-c", script], tmp_path, **settings)
    assert (result.returncode, result.stderr) == (0, "")


def test_a_stage_without_docstrings_does_not_run_when_asked_for_help(tmp_path: Path) -> None:
    result = run(["python", "-OO", "-m", "stages.preprocess", "--help"], tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("usage: python -m stages.preprocess ")


def test_no_stage_reads_the_time_of_day() -> None:
    """What measures durations does not jump, and no out holds a time."""
    clock = re.compile(r"\btime\.(time|ctime|localtime|gmtime|strftime)\b|\bdatetime\b")
    sources = [*(ROOT / "stages").rglob("*.py"), *(ROOT / "pipeline").rglob("*.py")]
    assert [path for path in sources if clock.search(path.read_text())] == []
