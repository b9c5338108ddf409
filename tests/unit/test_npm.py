"""Packages of the npm registry: how npm is called, watched, and ended."""

import errno
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stages.fetch.npm import pack, size
from stages.fetch.transfer import SourceError
from tests.unit.scripted_server import limits
from tests.unit.terminal import make_terminal

# A stand-in for npm: notes its arguments and knows the folders that they name.
BEGIN = """#!/bin/sh
printf '%s\\n' "$@" > "$RECORD"
for argument; do
    case $argument in
        --pack-destination=*) arrived=${argument#*=} ;;
        --cache=*) cache=${argument#*=} ;;
    esac
done
"""
BRING = 'printf content > "$arrived/tiny-1.0.0.tgz"\n'

Install = Callable[[str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Return a function that makes a shell script the npm that is found first."""
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("RECORD", str(tmp_path / "arguments"))

    def install(script: str) -> None:
        (programs / "npm").write_text(BEGIN + script)
        (programs / "npm").chmod(0o755)

    return install


class Process(subprocess.Popen[str]):
    """A process that is waited for less long than is asked for."""

    waits: list[float]

    def wait(self, timeout: float | None = None) -> int:
        """Wait at most 50 ms."""
        if timeout:
            self.waits.append(timeout)
        return super().wait(timeout and 0.05)


@pytest.fixture(autouse=True)
def started(monkeypatch: pytest.MonkeyPatch) -> list[Process]:
    """Return the processes that are started; they are looked at every 5 ms."""
    started: list[Process] = []
    sleep = time.sleep

    def start(*arguments: Any, **settings: Any) -> Process:
        process = Process(*arguments, **settings)
        process.waits = []
        started.append(process)
        return process

    monkeypatch.setattr("subprocess.Popen", start)

    def look_sooner(seconds: float) -> None:
        # A bar that moves less often seems to stand still.
        assert 0 < seconds <= 0.2
        sleep(0.005)

    monkeypatch.setattr("time.sleep", look_sooner)
    return started


@pytest.fixture
def downloads(tmp_path: Path) -> Path:
    """Return a folder that is not there yet."""
    return tmp_path / "data/downloads"


def failure(downloads: Path, **settings: Any) -> str:
    """Return why the package is not brought, which leaves nothing."""
    with pytest.raises(SourceError) as error:
        pack("tiny@1.0.0", downloads, limits(**settings))
    assert [*downloads.iterdir()] == []
    return str(error.value)


def test_npm_is_called_and_brings_an_archive(
    tmp_path: Path, install: Install, downloads: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    install(BRING + "echo tiny-1.0.0.tgz; echo a notice >&2")
    path = pack("tiny@1.0.0", downloads, limits(attempts=3))
    assert path == downloads / "tiny-1.0.0.tgz"
    assert path.read_text() == "content"
    assert [*downloads.iterdir()] == [path]
    assert capfd.readouterr() == ("", "")

    first, *options, dashes, package = (tmp_path / "arguments").read_text().splitlines()
    # An option after -- would be taken for a package, a package before it for an option.
    assert (first, dashes, package) == ("pack", "--", "tiny@1.0.0")
    settings = {name: value for name, _, value in (option.partition("=") for option in options)}
    cache, arrived = Path(settings.pop("--cache")), Path(settings.pop("--pack-destination"))
    assert cache.parent == downloads
    # So that its size counts.
    assert arrived.parent == cache
    assert settings == {
        "--ignore-scripts": "",
        "--dry-run": "false",
        "--workspaces": "false",
        "--global": "false",
        "--json": "false",
        "--color": "false",
        "--loglevel": "error",
        "--fetch-retries": "2",
    }


def test_npm_goes_on_where_its_folder_is_there(install: Install, downloads: Path) -> None:
    install(BRING)
    downloads.mkdir(parents=True)
    (downloads / "unfinished.part").write_text("another download")
    (downloads / "tiny-1.0.0.tgz").write_text("of before")
    assert pack("tiny@1.0.0", downloads, limits()).read_text() == "content"
    assert {path.name for path in downloads.iterdir()} == {"unfinished.part", "tiny-1.0.0.tgz"}


def test_npm_is_missing(tmp_path: Path, downloads: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SourceError) as error:
        pack("tiny@1.0.0", downloads, limits())
    assert str(error.value) == "npm is not installed"


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (
            "printf 'npm error code E404\\nnpm error 404  No such version \\nmore\\n' >&2; exit 1",
            "code E404 404  No such version",
        ),
        ("printf '\\n  in its own words\\n\\n' >&2; exit 1", "in its own words"),
        ("echo a page; exit 7", "exit code 7"),
        (BRING + "exit 1", "exit code 1"),
        ("kill -9 $$", "exit code -9"),
        ("echo done", "npm brought no archive; see your npm settings, `npm config list`"),
        (
            "echo ENOSPC >&2",
            "npm brought no archive; see your npm settings, `npm config list`",
        ),
    ],
    ids=[
        "two lines",
        "one line",
        "silent",
        "despite an archive",
        "killed",
        "nothing",
        "no failure",
    ],
)
def test_npm_fails(install: Install, downloads: Path, script: str, reason: str) -> None:
    install(script)
    assert failure(downloads) == reason


def test_npm_finds_no_room(install: Install, downloads: Path) -> None:
    install("printf 'npm error code ENOSPC\\nnpm error nospc ENOSPC: no space' >&2; exit 228")
    with pytest.raises(OSError, match="No space left on device") as error:
        pack("tiny@1.0.0", downloads, limits())
    assert (error.value.errno, error.value.filename) == (errno.ENOSPC, str(downloads))
    assert error.value.strerror == os.strerror(errno.ENOSPC)
    assert [*downloads.iterdir()] == []


# `content` has 7 bytes; the folders of a cache are none of the package.
CACHED = 'mkdir -p "$cache/a/b"; printf 0123456789 > "$cache/a/b/c"\n'


def test_a_package_may_be_as_large_as_allowed(
    tmp_path: Path, install: Install, downloads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = make_terminal(monkeypatch)
    sleep = time.sleep
    looks = 0

    def end_when_seen(seconds: float) -> None:
        nonlocal looks
        looks += bool([*downloads.rglob("tiny-1.0.0.tgz")])
        if looks == 2:
            (tmp_path / "end").touch()
        sleep(seconds)

    monkeypatch.setattr("time.sleep", end_when_seen)
    install(CACHED + BRING + f"while [ ! -e {tmp_path}/end ]; do sleep 0.01; done\n")
    pack("tiny@1.0.0", downloads, limits(maximum_bytes=17))
    assert terminal.states[0].startswith("tiny@1.0.0: 0.00B [")
    assert terminal.states[-1].startswith("tiny@1.0.0: 17.0B [")


def test_npm_is_ended_where_a_package_is_larger_than_allowed(
    install: Install, downloads: Path, started: list[Process]
) -> None:
    install(CACHED + BRING + "exec sleep 10")
    assert failure(downloads, maximum_bytes=16) == "larger than fetch.maximum_bytes = 16"
    assert [(process.wait(), process.waits) for process in started] == [(-signal.SIGTERM, [5])]


def test_a_package_larger_than_allowed_is_refused_however_quick_npm_is(
    install: Install, downloads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may all arrive between two looks."""
    install(BRING)
    monkeypatch.setattr(Process, "poll", Process.wait)
    assert failure(downloads, maximum_bytes=6) == "larger than fetch.maximum_bytes = 6"


def test_npm_is_ended_where_it_stalls(
    install: Install,
    downloads: Path,
    started: list[Process],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seconds = iter(range(0, 1000, 20))
    clock = SimpleNamespace(monotonic=lambda: next(seconds))
    monkeypatch.setattr("stages.fetch.transfer.time", clock)
    install("exec sleep 10")
    assert failure(downloads, stall_seconds=20, minimum_rate=5) == (
        "stalled: 0 bytes/s over 20 s, below fetch.minimum_rate = 5"
    )
    assert [process.wait() for process in started] == [-signal.SIGTERM]


def test_npm_is_ended_where_the_stage_is_interrupted(
    install: Install,
    downloads: Path,
    started: list[Process],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", interrupt)
    install("exec sleep 10")
    with pytest.raises(KeyboardInterrupt):
        pack("tiny@1.0.0", downloads, limits())
    assert [process.wait() for process in started] == [-signal.SIGTERM]
    assert [*downloads.iterdir()] == []


def test_npm_that_does_not_end_is_killed_after_five_seconds(
    install: Install, downloads: Path, started: list[Process]
) -> None:
    install("trap '' TERM\n" + CACHED + "exec sleep 10")
    assert failure(downloads, maximum_bytes=1) == "larger than fetch.maximum_bytes = 1"
    assert [process.waits for process in started] == [[5]]
    assert [process.wait() for process in started] == [-signal.SIGKILL]


def test_the_bar_does_not_go_back_where_npm_removes_a_file(
    tmp_path: Path, install: Install, downloads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = make_terminal(monkeypatch)
    sleep = time.sleep
    steps = iter(["write", "remove", "end"])

    def step(seconds: float) -> None:
        match next(steps, ""):
            case "write":
                (cache,) = downloads.iterdir()
                (cache / "file").write_bytes(bytes(2000))
            case "remove":
                (cache,) = downloads.iterdir()
                (cache / "file").unlink()
            case "end":
                (tmp_path / "end").touch()
        sleep(seconds)

    monkeypatch.setattr("time.sleep", step)
    install(f"while [ ! -e {tmp_path}/end ]; do sleep 0.01; done\n")
    failure(downloads)
    assert terminal.states[-1].startswith("tiny@1.0.0: 2.00kB [")


def test_the_size_of_a_folder_is_that_of_its_files(tmp_path: Path) -> None:
    """A dangling link is as good as a file that has vanished."""
    for number in range(6):
        folder = tmp_path / f"folder{number}"
        folder.mkdir()
        (folder / "file").write_bytes(bytes(2**number))
        (tmp_path / f"{number}").symlink_to("nothing")
        (folder / f"{number}").symlink_to("nothing")
    assert size(tmp_path) == 63
