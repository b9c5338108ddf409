"""What several of these tests start from: a folder with a few small files, made here."""

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from stages import arrays, processors
from tests.project import Params, default_params, write_params
from tests.unit import small_batches
from tests.unit.scripted_server import ScriptedServer, scripted

Main = Callable[[], None]
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


def pytest_collection_finish() -> None:
    """Let the CPU be two devices, which TensorFlow allows only before it starts."""
    if tensorflow := sys.modules.get("tensorflow"):
        (processor,) = tensorflow.config.list_physical_devices("CPU")
        halves = [tensorflow.config.LogicalDeviceConfiguration()] * 2
        tensorflow.config.set_logical_device_configuration(processor, halves)


@pytest.fixture(autouse=True)
def processors_without_bfloat16(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let `precision: auto` be float32, whatever the tests run on."""
    monkeypatch.setattr(processors, "CPUINFO", tmp_path / "cpuinfo")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def params(folder: Path) -> Params:
    """Return the project's parameters, written to params.yaml in the current folder."""
    content = default_params()
    write_params(folder, content)
    return content


@pytest.fixture
def processed(folder: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the splits in data/processed: images, uint8 (n, 32, 32, 3), and labels, uint8 (n,).

    The images are random, the labels go through all classes.
    """
    generator = np.random.default_rng(0)
    splits = {}
    for split, count in (("train", 40), ("validation", 20), ("test", 30)):
        images = generator.integers(0, 256, (count, 32, 32, 3), np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        arrays.save(split, images, labels)
        splits[split] = (images, labels)
    return splits


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that calls an entry point as if with arguments from the command line."""

    def called(main: Main, *arguments: object) -> None:
        monkeypatch.setattr(sys, "argv", ["program", *map(str, arguments)])
        main()

    return called


@pytest.fixture
def help_of(call: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> Callable[[Main], str]:
    """Return a function that returns the help of an entry point, on one line.

    Where its lines end depends on the terminal.
    """

    def asked(main: Main) -> str:
        with pytest.raises(SystemExit) as end:
            call(main, "--help")
        assert end.value.code == 0
        return " ".join(capsys.readouterr().out.split())

    return asked


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the stage fetch take batch files of four images for the published ones."""
    small_batches.publish(monkeypatch)


@pytest.fixture(scope="session")
def shared_server() -> Iterator[ScriptedServer]:
    """Return a server for all tests, each of which tells it what to answer."""
    with scripted() as server:
        yield server


@pytest.fixture
def server(
    shared_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ScriptedServer]:
    """Return a server that has no answers yet, and must have none left in the end."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    shared_server.answers, shared_server.requests = [], []
    shared_server.released.clear()
    yield shared_server
    assert shared_server.answers == []
    shared_server.released.set()
