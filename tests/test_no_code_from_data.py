"""Nothing that the project reads can run code: no pickles, no `eval`, Keras's safe mode always."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.project import ROOT

MODULES = {"pickle", "joblib", "dill", "marshal", "shelve", "cloudpickle"}
FUNCTIONS = {"eval", "exec"}
# What must be said in each call, by the function's name.
SETTINGS = {
    "load": ("allow_pickle", False),
    "save": ("allow_pickle", False),
    "savez": ("allow_pickle", False),
    "load_model": ("safe_mode", True),
}
OWNERS = {"np", "numpy", "saving", "models"}
SOURCES = sorted(
    path.relative_to(ROOT)
    for folder in ("stages", "tools", "benchmarks", "tests")
    for path in (ROOT / folder).rglob("*.py")
)


def complaints(source: str) -> Iterator[str]:
    """Return what a source could run code with that it has read."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            imported = {alias.name.split(".")[0] for alias in node.names}
            yield from sorted(imported & MODULES)
        elif isinstance(node, ast.ImportFrom):
            yield from {(node.module or "").split(".")[0]} & MODULES
        elif isinstance(node, ast.Name) and node.id in FUNCTIONS:
            yield node.id
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            name, owner = node.func.attr, ast.unparse(node.func.value).split(".")[-1]
            if name in SETTINGS and owner in OWNERS:
                setting, value = SETTINGS[name]
                given = {k.arg: ast.unparse(k.value) for k in node.keywords}
                if given.get(setting) != str(value):
                    yield f"{owner}.{name} without {setting}={value}"


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_a_source_file_runs_nothing_that_it_reads(path: Path) -> None:
    assert [*complaints((ROOT / path).read_text())] == []


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("import os, pickle", "pickle"),
        ("def f():\n    import joblib.numpy_pickle", "joblib"),
        ("from marshal import loads", "marshal"),
        ("from dill import *", "dill"),
        ("f = eval", "eval"),
        ("exec('x')", "exec"),
        ("np.load(path)", "np.load without allow_pickle=False"),
        ("np.load(path, allow_pickle=True)", "np.load without allow_pickle=False"),
        ("np.savez(path, x=x)", "np.savez without allow_pickle=False"),
        ("keras.saving.load_model(path)", "saving.load_model without safe_mode=True"),
        (
            "keras.models.load_model(path, safe_mode=False)",
            "models.load_model without safe_mode=True",
        ),
    ],
)
def test_what_could_is_found(source: str, complaint: str) -> None:
    assert [*complaints(source)] == [complaint]
