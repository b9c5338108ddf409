"""What the project's sources import, told from the source, so that a late import counts too."""

import ast
from pathlib import Path

# The project's own packages; each may import those to its right.
LAYERS = ("tests", "benchmarks", "tools", "stages", "pipeline")
HEAVY = {"tensorflow", "keras"}


def files_of(module: str, root: Path) -> list[Path]:
    """Return the project's files that importing `module` runs, parents included."""
    parts = module.split(".")
    files = []
    for count in range(1, len(parts) + 1):
        path = root.joinpath(*parts[:count])
        files += [file for file in (path / "__init__.py", path.with_suffix(".py")) if file.exists()]
    return files


def imported(file: Path) -> set[str]:
    """Return the names of all modules that a source file may import, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            names |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def reached(module: str, root: Path) -> tuple[set[str], set[str]]:
    """Return the project's files and the other packages that `python -m MODULE` imports."""
    entry = root.joinpath(*module.split("."), "__main__.py")
    queue = [*files_of(module, root), *([entry] if entry.exists() else [])]
    files, packages = set(), set()
    while queue:
        file = queue.pop()
        if file in files:
            continue
        files.add(file)
        for name in imported(file):
            package = name.split(".")[0]
            if package in LAYERS:
                queue += files_of(name, root)
            else:
                packages.add(package)
    return {file.relative_to(root).as_posix() for file in files}, packages


def sources(folder: str, root: Path) -> set[str]:
    """Return the source files in a folder and its subfolders."""
    return {path.relative_to(root).as_posix() for path in (root / folder).rglob("*.py")}
