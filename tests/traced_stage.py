"""Runs a stage and writes down what it read: python tests/traced_stage.py NAME REPORT."""

import json
import os
import runpy
import sys
from pathlib import Path
from typing import Any


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

    import stages.params

    read = stages.params.read

    def noting_read(key: str, schema: Any) -> Any:
        keys.add(key)
        return read(key, schema)

    stages.params.read = noting_read
    sys.addaudithook(note)
    try:
        runpy.run_module(f"stages.{name}", run_name="__main__", alter_sys=True)
    finally:
        modules = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
        loaded = {Path(file) for file in modules if file} | {folder / f"stages/{name}/__main__.py"}
        sources = {p.relative_to(folder).as_posix() for p in loaded if p.is_relative_to(folder)}
        content = {"files": sorted(files), "keys": sorted(keys), "sources": sorted(sources)}
        Path(report).write_text(json.dumps(content))


if __name__ == "__main__":
    main()
