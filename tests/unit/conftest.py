"""What several of these tests start from: a folder with a few small files, made here."""

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.common import device
from pipeline.data import cifar10
from tests.archives import BATCHES, RECORDS
from tests.project import Params, default_params, write_params
from tests.servers import Server, serving

import tensorflow as tf

# Where mutmut keeps how long each test takes, beside its copy of these tests.
MUTMUT_STATISTICS = Path(__file__).parents[2] / "mutmut-stats.json"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the quickest files of a mutant's tests first, which its fork server leaves to chance."""
    if not MUTMUT_STATISTICS.exists():
        return
    durations = json.loads(MUTMUT_STATISTICS.read_bytes())["duration_by_test"]
    totals: Counter[Path] = Counter()
    for item in items:
        totals[item.path] += durations.get(item.nodeid, 0)
    items.sort(key=lambda item: (totals[item.path], item.path))


@pytest.fixture(autouse=True)
def processors_without_bfloat16(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let `precision: auto` be float32, whatever the tests run on."""
    monkeypatch.setattr(device, "CPUINFO", tmp_path / "cpuinfo")


@pytest.fixture
def without_graphs() -> Iterator[None]:
    """Run compiled functions line by line, where compiling them takes longer."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def params(folder: Path) -> Params:
    """Return the project's parameters, written to params.yaml in the current folder."""
    content = default_params()
    write_params(folder, content)
    return content


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that calls an entry point as if with arguments from the command line."""

    def called(main: Callable[[], None], *arguments: object) -> None:
        monkeypatch.setattr(sys, "argv", ["program", *map(str, arguments)])
        main()

    return called


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the stage fetch take batch files of four images for the published ones."""
    monkeypatch.setattr(cifar10, "RECORDS", RECORDS)
    monkeypatch.setattr(cifar10, "BATCH_BYTES", RECORDS * 3073)
    for name, content in BATCHES.items():
        monkeypatch.setitem(cifar10.SHA256, name, hashlib.sha256(content).hexdigest())


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as server:
        yield server
