"""Standard output that is closed early, full or absent."""

import sys
from pathlib import Path

import pytest

from tests.project import run

PRINTING = """
import sys
from pipeline.common.shell import run

def main():
    for number in range(int(sys.argv[1])):
        print("line", number)

run(main)
"""


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("lines", [1, 100_000])
def test_closed_full_and_absent_output(tmp_path: Path, lines: int, unbuffered: str) -> None:
    (tmp_path / "program.py").write_text(PRINTING)
    for where, code, errors in (
        ("| true", 128 + 13, ""),
        ("> /dev/full", 2, "error: No space left on device\n"),
        (">&-", 0, ""),
    ):
        script = f"set -o pipefail; '{sys.executable}' program.py {lines} {where}"
        result = run(["bash", "-c", script], tmp_path, PYTHONUNBUFFERED=unbuffered)
        assert (result.returncode, result.stderr) == (code, errors)
