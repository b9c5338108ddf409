"""Standard output that is closed early, full or absent, and names that no encoding has."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.project import Run, environment_of_tests, run

PRINTING = """
import sys
from pipeline.common.shell import run

def main():
    for number in range(int(sys.argv[1])):
        print("line", number)
    print("caf\\udce9", "\\udcc3\\udc9c")

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


@pytest.mark.parametrize(
    "settings",
    [{}, {"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}],
    ids=["as it is", "ascii", "locale C"],
)
def test_names_are_printed_byte_by_byte(tmp_path: Path, settings: dict[str, str]) -> None:
    env = environment_of_tests(PYTHONCOERCECLOCALE="0", **settings)
    result = subprocess.run(
        [sys.executable, "-c", PRINTING, "0"], cwd=tmp_path, env=env, capture_output=True
    )
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout == b"caf\xe9 \xc3\x9c\n"
