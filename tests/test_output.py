"""Standard output that is closed early, full or absent."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.project import Run, run

PRINTING = """
import sys
from pipeline.common.shell import run

def main():
    for number in range(int(sys.argv[1])):
        print("line", number)

run(main)
"""


@pytest.fixture(params=["", "1"], ids=["buffered", "unbuffered"])
def printing(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[str], Run]:
    """Return a function that runs a shell command in which $P is a program that prints."""
    (tmp_path / "program.py").write_text(PRINTING)

    def in_shell(command: str) -> Run:
        program = f"{sys.executable} program.py"
        script = f"set -o pipefail; P='{program}'; {command}"
        return run(["bash", "-c", script], tmp_path, PYTHONUNBUFFERED=request.param)

    return in_shell


@pytest.mark.parametrize("lines", [1, 100_000])
def test_closed_full_and_absent_output(printing: Callable[[str], Run], lines: int) -> None:
    closed = printing(f"$P {lines} | true")
    assert (closed.returncode, closed.stderr) == (128 + 13, "")
    full = printing(f"$P {lines} > /dev/full")
    assert (full.returncode, full.stderr) == (2, "error: No space left on device\n")
    absent = printing(f"$P {lines} >&-")
    assert (absent.returncode, absent.stderr) == (0, "")
