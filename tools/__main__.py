"""Runs a tool: python -m tools NAME [ARGUMENT...]; without a name, lists them all."""

import ast
import runpy
import sys
from functools import partial
from pathlib import Path

from stages.errors import InputError, exit_with_message

FOLDER = Path(__file__).parent


def tools() -> dict[str, str]:
    """Return the first line of each tool's docstring, by the tool's name."""
    files = {file.stem: file for file in FOLDER.glob("[a-z]*.py")}
    files |= {file.parent.name: file for file in FOLDER.glob("[a-z]*/__main__.py")}
    lines = {}
    for name, file in sorted(files.items()):
        # Parsed instead of imported, since some tools import DVC, which takes a second.
        docstring = ast.get_docstring(ast.parse(file.read_bytes())) or ""
        lines[name] = docstring.partition("\n")[0]
    return lines


def list_tools(name: str) -> None:
    """Print each tool on a line; refuse a name that asks for anything else."""
    lines = tools()
    if name not in ("-h", "--help"):
        raise InputError(f"{name!r}: no tool; allowed are {', '.join(lines)}")
    print("usage: python -m tools NAME [ARGUMENT...]\n")
    width = max(map(len, lines))
    for tool, line in lines.items():
        print(f"{tool:{width}}  {line}")


def main() -> None:
    """Run the tool that the first argument names."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name not in tools():
        exit_with_message(partial(list_tools, name))
        return
    # Not within exit_with_message, which every tool calls itself.
    del sys.argv[1]
    runpy.run_module(f"tools.{name}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
