"""Nothing that the project reads can run code: no pickles, no `eval`, Keras's safe mode always."""

import ast
from collections.abc import Iterator

from tests.project import ROOT

MODULES = {"pickle", "joblib", "dill", "marshal", "shelve", "cloudpickle"}
FUNCTIONS = {"eval", "exec"}
# What must be said in each call, by the function's name.
SETTINGS = dict.fromkeys(("load", "save", "savez"), ("allow_pickle", "False"))
SETTINGS["load_model"] = ("safe_mode", "True")
OWNERS = {"np", "numpy", "saving", "models"}
FOLDERS = ("pipeline", "stages", "tools", "benchmarks", "tests")


def complaints(source: str) -> Iterator[str]:
    """Return what a source could run code with that it has read."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from {alias.name.split(".")[0] for alias in node.names} & MODULES
        elif isinstance(node, ast.ImportFrom):
            # Of joblib, which reads pickles too, what is about processors.
            names = {alias.name for alias in node.names}
            if node.module != "joblib" or not names <= {"Parallel", "cpu_count", "delayed"}:
                yield from {(node.module or "").split(".")[0]} & MODULES
        elif isinstance(node, ast.Name) and node.id in FUNCTIONS:
            yield node.id
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            name, owner = node.func.attr, ast.unparse(node.func.value).split(".")[-1]
            given = {(keyword.arg, ast.unparse(keyword.value)) for keyword in node.keywords}
            if owner in OWNERS and name in SETTINGS and SETTINGS[name] not in given:
                yield f"{owner}.{name}"


def test_no_source_file_runs_what_it_reads() -> None:
    sources = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    assert len(sources) > 50
    found = [(path, [*complaints(path.read_text())]) for path in sources]
    assert [each for each in found if each[1]] == []
