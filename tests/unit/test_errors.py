"""How a stage ends before its time: the line on standard error, the exit code, what is put back."""

import errno
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from io import BytesIO, TextIOWrapper

import pytest

from stages import errors
from stages.errors import (
    InputError,
    Interrupted,
    TrainingError,
    exit_with_message,
    in_one_line,
    interrupt,
    printable,
)

SIGNALS = [signal.SIGINT, signal.SIGTERM]


@pytest.fixture(autouse=True)
def standard_output(monkeypatch: pytest.MonkeyPatch) -> Iterator[BytesIO]:
    """Return what goes to standard output; what the process itself has is as before afterwards."""
    content = BytesIO()
    monkeypatch.setattr(sys, "__stdout__", TextIOWrapper(content))
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    monkeypatch.setattr(warnings, "filters", [*warnings.filters])
    before = {number: signal.getsignal(number) for number in SIGNALS}
    # What a shell starts in the background ignores it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield content
    for number, handler in before.items():
        signal.signal(number, handler)


def raising(error: BaseException) -> Callable[[], None]:
    """Return an entry point that ends with an exception."""

    def main() -> None:
        raise error

    return main


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("café, ✓ and a b", "café, ✓ and a b"),
        ("a\nb\tc\x1b[1m", "a\\nb\\tc\\x1b[1m"),
        ("caf\udce9\u200b\u2028", "caf\\udce9\\u200b\\u2028"),
        ("\U000e0001", "\\U000e0001"),
        ("back\\slash 'n' \"q\"", "back\\slash 'n' \"q\""),
    ],
)
def test_what_does_not_print_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize(
    ("reason", "line"),
    [
        (ValueError("a\n  b\t c \r\n"), "a b c"),
        (ValueError(), "ValueError"),
        (KeyError("\x07"), "'\\x07'"),
        (MemoryError(" \n "), "MemoryError"),
        ("a\x07", "a\\x07"),
    ],
)
def test_reason_on_one_line(reason: object, line: str) -> None:
    assert in_one_line(reason) == line


@pytest.mark.parametrize(
    ("error", "exit_code", "line"),
    [
        (InputError("params.yaml: seed: missing"), 2, "params.yaml: seed: missing"),
        (TrainingError("loss is nan"), 1, "loss is nan"),
        (FileNotFoundError(errno.ENOENT, "No such file", "a\nb"), 2, "a\\nb: No such file"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe", "fifo"), 2, "fifo: Broken pipe"),
        (OSError(errno.ENOSPC, "Full", "standard output"), 2, "standard output: Full"),
        (Interrupted(signal.SIGINT), 130, "interrupted by SIGINT"),
        (Interrupted(signal.SIGTERM), 143, "interrupted by SIGTERM"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_expected_failure_is_one_line(
    capsys: pytest.CaptureFixture[str], error: BaseException, exit_code: int, line: str
) -> None:
    with pytest.raises(SystemExit) as left:
        exit_with_message(raising(error))
    assert left.value.code == exit_code
    assert capsys.readouterr() == ("", f"error: {line}\n")


def test_reader_that_has_seen_enough(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        exit_with_message(raising(BrokenPipeError(errno.EPIPE, "Broken", "standard output")))
    assert left.value.code == 141
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "error", [ValueError("x"), OSError(errno.EBADF, "Bad"), KeyboardInterrupt()]
)
def test_defect_keeps_its_traceback(
    capsys: pytest.CaptureFixture[str], error: BaseException
) -> None:
    with pytest.raises(type(error)) as caught:
        exit_with_message(raising(error))
    assert caught.value is error
    assert capsys.readouterr() == ("", "")


def test_own_exit_code_is_kept() -> None:
    with pytest.raises(SystemExit) as left:
        exit_with_message(raising(SystemExit(3)))
    assert left.value.code == 3


def test_success_returns_and_its_output_is_written(standard_output: BytesIO) -> None:
    exit_with_message(lambda: print("done"))
    assert standard_output.getvalue() == b"done\n"


@pytest.mark.parametrize(
    ("argument", "code", "says"),
    [
        ("--help", 0, "usage: python -m stages.plots [-h]\n\nDraws.\n\noptions:\n"),
        ("x", 2, "error: unrecognized arguments: x\n"),
    ],
)
def test_a_stage_takes_no_arguments(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    argument: str,
    code: int,
    says: str,
) -> None:
    monkeypatch.setattr(sys, "argv", ["stages/plots/__main__.py", argument])
    monkeypatch.setattr(sys.modules["__main__"], "__package__", "stages.plots")
    with pytest.raises(SystemExit) as left:
        exit_with_message(raising(AssertionError("it ran")), "Draws.")
    assert left.value.code == code
    assert says in "".join(capsys.readouterr())


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_signal_ends_by_way_of_every_finally(
    capsys: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    seen: list[object] = []

    def main() -> None:
        try:
            os.kill(os.getpid(), number)
            time.sleep(5)
        finally:
            # Once more, it would end the process at once.
            seen.append(signal.getsignal(number))

    with pytest.raises(SystemExit) as left:
        exit_with_message(main)
    assert left.value.code == 128 + number
    assert seen == [signal.SIG_DFL]
    assert capsys.readouterr().err == f"error: interrupted by {number.name}\n"


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_interrupt_raises_once(number: signal.Signals) -> None:
    with pytest.raises(Interrupted) as caught:
        interrupt(number, None)
    assert (caught.value.number, caught.value.exit_code) == (number, 128 + number)
    assert signal.getsignal(number) == signal.SIG_DFL


@pytest.mark.parametrize("error", [None, InputError("x"), ValueError("x")], ids=repr)
def test_handlers_are_put_back(error: Exception | None) -> None:
    def handler(number: int, frame: object) -> None:
        """Do nothing."""

    signal.signal(signal.SIGTERM, handler)
    before = sys.stdout
    during: list[object] = []

    def main() -> None:
        during.extend(map(signal.getsignal, SIGNALS))
        during.append(sys.unraisablehook)
        if error:
            raise error

    try:
        exit_with_message(main)
    except (SystemExit, ValueError):
        assert error
    assert during == [interrupt, interrupt, errors.interrupt_again]
    assert signal.getsignal(signal.SIGTERM) is handler
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert sys.unraisablehook is sys.__unraisablehook__
    assert sys.stdout is before


class Destroyed:
    """An object whose destructor runs a function."""

    def __init__(self, function: Callable[[], None]):
        """Take the function."""
        self.function = function

    def __del__(self) -> None:
        """Run it."""
        self.function()


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_signal_that_a_destructor_swallows_is_sent_again(
    capsys: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    def main() -> None:
        Destroyed(lambda: interrupt(number, None))
        start = time.monotonic()
        while time.monotonic() < start + 5:
            time.sleep(0.01)

    with pytest.raises(SystemExit) as left:
        exit_with_message(main)
    assert left.value.code == 128 + number
    assert capsys.readouterr().err == f"error: interrupted by {number.name}\n"


def test_other_failure_in_a_destructor_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise ValueError("odd")

    def main() -> None:
        Destroyed(fail)

    exit_with_message(main)
    error = capsys.readouterr().err
    assert error.startswith("Exception ignored in: <function Destroyed.__del__")
    assert error.endswith("ValueError: odd\n")


def test_warnings_do_not_end_a_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are made errors are no longer; the user's other wishes are kept."""
    kept = [("ignore", None, UserWarning, None, 0), ("always", None, ResourceWarning, None, 0)]
    error = ("error", None, UserWarning, None, 0)
    monkeypatch.setattr(warnings, "filters", [error, kept[0], error, kept[1]])
    exit_with_message(lambda: warnings.warn("old", stacklevel=1))
    assert warnings.filters == kept
