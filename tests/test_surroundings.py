"""Where a project may lie and when it may run: another file system, a clock that jumps."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.project import ROOT, Project, environment_of_tests, run, stages_run

UP_TO_DATE = "Data and pipelines are up to date.\n"
PLACES = {
    "mount": "mkdir -p data && mount -t tmpfs tmpfs data",
    # DVC refuses a data/ that is a link out of the repository; this is its own way to another disk.
    "cache": "mkdir ../elsewhere && mount -t tmpfs tmpfs ../elsewhere"
    " && dvc cache dir --local ../elsewhere/cache && dvc config --local cache.type symlink",
}


@pytest.mark.parametrize("place", PLACES)
def test_data_on_another_file_system(
    make_project: Callable[[Path], Project], tmp_path: Path, place: str
) -> None:
    """On a disk of its own, which a mount namespace has and which is gone afterwards."""
    project = make_project(tmp_path / "project")
    script = f"""
        {PLACES[place]} || exit 100
        dvc repro preprocess || exit 101
        dvc status preprocess || exit 102
        rm -r data/raw data/processed
        dvc checkout fetch preprocess || exit 103
        dvc repro preprocess || exit 104
    """
    namespace = ["unshare", "--user", "--map-root-user", "--mount"]
    result = run([*namespace, "sh", "-c", script], project.folder, PYTHONPATH="")
    assert result.returncode == 0, result.stdout + result.stderr
    assert stages_run(result.stdout) == {"fetch", "preprocess"}
    assert result.stdout.count(UP_TO_DATE) == 2


def test_make_unsets_what_keeps_python_from_importing_or_makes_it_slow() -> None:
    makefile = """
include Makefile
settings:
\t@python -c 'import sys; print(sys.flags.safe_path, sys.flags.dont_write_bytecode)'
"""
    environment = environment_of_tests(
        PYTHONSAFEPATH="1", PYTHONDONTWRITEBYTECODE="1", MAKEFLAGS=""
    )
    command = ["make", "--no-print-directory", "--file=-", "settings"]
    output = subprocess.check_output(command, cwd=ROOT, env=environment, input=makefile, text=True)
    assert output == "False 0\n"


def test_no_stage_reads_the_time_of_day() -> None:
    """What measures durations does not jump, and no out holds a time."""
    clock = re.compile(r"\btime\.(time|ctime|localtime|gmtime|strftime)\b|\bdatetime\b")
    found = [path for path in (ROOT / "stages").rglob("*.py") if clock.search(path.read_text())]
    assert found == []
