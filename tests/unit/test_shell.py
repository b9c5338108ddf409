"""How a program ends: the line on standard error, the exit code; and files that appear whole."""

import errno
import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

from pipeline.common.shell import UserError, one_line, replacing, run, run_stage, write_atomically
from tests.unit.disk import NO_SPACE, leave_free

SIGNALS = [signal.SIGINT, signal.SIGTERM]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("café, ✓ and a b", "café, ✓ and a b"),
        ("a\n  b\t c \r\n", "a b c"),
        ("a\x1b[1m caf\udce9\u200b", "a\\x1b[1m caf\\udce9\\u200b"),
        (ValueError(), "ValueError"),
        (KeyError("\x07"), "'\\x07'"),
    ],
)
def test_a_text_on_one_line(text: object, line: str) -> None:
    assert one_line(text) == line


@pytest.mark.parametrize(
    ("error", "exit_code", "line"),
    [
        (UserError("params.yaml: seed: missing"), 2, "params.yaml: seed: missing"),
        (UserError("loss is nan", 1), 1, "loss is nan"),
        (FileNotFoundError(errno.ENOENT, "No such file", "a\nb"), 2, "a b: No such file"),
        (NO_SPACE, 2, "No space left on device"),
        # Who has read enough is told nothing.
        (BrokenPipeError(), 141, None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_expected_failure_is_one_line(
    capsys: pytest.CaptureFixture[str], error: BaseException, exit_code: int, line: str | None
) -> None:
    with pytest.raises(SystemExit) as left:
        run(Mock(side_effect=error))
    assert left.value.code == exit_code
    assert capsys.readouterr() == ("", f"error: {line}\n" if line else "")


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), SystemExit(3)])
def test_anything_else_goes_on(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        run(Mock(side_effect=error))
    assert caught.value is error


@pytest.mark.parametrize(("argument", "code"), [("--help", 0), ("x", 2)])
def test_a_stage_takes_no_arguments(
    call: Callable[..., None], capsys: pytest.CaptureFixture[str], argument: str, code: int
) -> None:
    with pytest.raises(SystemExit) as left:
        call(lambda: run_stage(Mock(side_effect=AssertionError("it ran")), "Draws."), argument)
    assert left.value.code == code
    assert ("Draws." in capsys.readouterr().out) == (code == 0)


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal_ends_by_way_of_every_finally(
    capsys: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    before = [signal.getsignal(each) for each in SIGNALS]
    seen: list[object] = []

    def main() -> None:
        try:
            os.kill(os.getpid(), number)
            time.sleep(5)
        finally:
            # Once more, it would end the process at once.
            seen.append(signal.getsignal(number))

    with pytest.raises(SystemExit) as left:
        run(main)
    assert left.value.code == 128 + number
    assert seen == [signal.SIG_DFL]
    assert capsys.readouterr().err == f"error: interrupted by {number.name}\n"
    assert [signal.getsignal(each) for each in SIGNALS] == before


# --- files ----------------------------------------------------------------------------------------


def test_a_file_is_replaced_when_the_new_one_is_whole(folder: Path) -> None:
    """Who has the old one keeps it, by a hard link, as DVC's cache may be one."""
    path = folder / "one/two/file.txt"
    write_atomically(path, b"old")
    os.link(path, "cached")
    with replacing(path, 3) as unfinished:
        unfinished.write_bytes(b"new")
        assert unfinished.parent == path.parent
        assert path.read_bytes() == b"old"
    assert [*path.parent.iterdir()] == [path]
    assert path.read_bytes() == b"new"
    assert Path("cached").read_bytes() == b"old"


@pytest.mark.parametrize(
    ("failure", "says"), [(KeyError(), "^$"), (NO_SPACE, "20 bytes needed, .* free on its disk")]
)
def test_a_failure_leaves_the_old_file_and_nothing_else(
    folder: Path, failure: Exception, says: str
) -> None:
    Path("file").write_bytes(b"old")

    def write() -> None:
        with replacing(Path("file"), 20) as unfinished:
            unfinished.write_bytes(b"ne")
            raise failure

    with pytest.raises((KeyError, UserError), match=says):
        write()
    assert Path("file").read_bytes() == b"old"
    assert os.listdir() == ["file"]


def test_what_does_not_fit_is_refused_before(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_free(monkeypatch, 5)
    write_atomically(folder / "file", b"12345")
    with pytest.raises(UserError, match="file: 6 bytes needed, 5 free on its disk"):
        write_atomically(folder / "file", b"123456")
    assert (folder / "file").read_bytes() == b"12345"


def test_a_write_that_fails_names_the_file(folder: Path) -> None:
    """The operating system and NumPy do not."""
    limit, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(UserError, match="big.bin: File too large"):
            write_atomically(Path("big.bin"), bytes(1001))
        with pytest.raises(UserError, match="array.npy: "), replacing(Path("array.npy")) as path:
            np.save(path, np.zeros(1000), allow_pickle=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    assert [*folder.iterdir()] == []
