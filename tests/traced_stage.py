"""Runs a stage and writes down what it read: python tests/traced_stage.py NAME REPORT."""

import json
import os
import runpy
import sys
from pathlib import Path
from typing import Any


class Noting:
    """The parameters; notes which are asked for."""

    def __init__(self, params: Any, keys: set[str]):
        self.params, self.keys = params, keys

    def __getattr__(self, name: str) -> Any:
        self.keys.add(name)
        return getattr(self.params, name)


def main() -> None:
    name, report = sys.argv[1:]
    # A stage takes no arguments.
    del sys.argv[1:]
    folder = Path.cwd()
    sys.path.insert(0, str(folder))
    files: set[str] = set()
    keys: set[str] = set()

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[0], str | os.PathLike):
            path, mode, flags = arguments
            reads = "r" in mode if mode else not flags & (os.O_WRONLY | os.O_RDWR)
            inside = Path(folder, path).is_relative_to(folder)
            if reads and inside and not Path(folder, path).is_dir():
                files.add(Path(folder, path).relative_to(folder).as_posix())

    import pipeline.common.params

    read_params = pipeline.common.params.read_params
    vars(pipeline.common.params)["read_params"] = lambda: Noting(read_params(), keys)
    sys.addaudithook(note)
    runpy.run_module(f"stages.{name}", run_name="__main__", alter_sys=True)
    Path(report).write_text(json.dumps({"files": [*files], "keys": [*keys]}))


if __name__ == "__main__":
    main()
