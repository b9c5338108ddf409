"""The one command by which a user runs a tool."""

import sys
from pathlib import Path

from tests.project import ROOT, TOOLS, assert_refused, run

COMMAND = [sys.executable, "-m", "tools"]


def test_tools_from_another_folder(tmp_path: Path) -> None:
    listed = run(COMMAND, tmp_path)
    assert (listed.returncode, listed.stderr) == (0, "")
    assert tuple(line.split()[0] for line in listed.stdout.splitlines()[2:]) == TOOLS
    schema = run([*COMMAND, "schema"], tmp_path)
    assert (schema.returncode, schema.stderr) == (0, "")
    assert schema.stdout == (ROOT / "params.schema.json").read_text()


def test_unknown_tool_is_refused(tmp_path: Path) -> None:
    assert_refused(run([*COMMAND, "predic"], tmp_path), "'predic': no tool; allowed are compare, ")
