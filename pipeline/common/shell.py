"""How a program of this project ends, and how it writes files: whole, or as they were before.

Exit codes: 2 for what the user gave, 1 for a training that cannot go on, 128 + n for signal n.
"""

import argparse
import errno
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class UserError(Exception):
    """What the user can mend: its message names file or key, what was found, what is allowed."""

    def __init__(self, message: str, exit_code: int = 2):
        """Take one line, and the program's exit code."""
        super().__init__(message)
        self.exit_code = exit_code


class Interrupted(BaseException):
    """A signal asks the program to end, by way of every `finally`."""

    def __init__(self, number: int):
        """Take the signal's number."""
        super().__init__(f"interrupted by {signal.Signals(number).name}")
        self.exit_code = 128 + number


def one_line(text: object) -> str:
    """Return a text, or what an exception says, on one line, unprintable characters escaped."""
    line = " ".join(str(text).split()) or type(text).__name__
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


def run_stage(main: Callable[[], None], purpose: str | None) -> None:
    """Run a stage, which takes no arguments but `--help`.

    Args:
        main: the entry point.
        purpose: what `--help` says; None where Python has left the docstrings out (-OO).
    """
    spec = sys.modules["__main__"].__spec__
    argparse.ArgumentParser(
        prog=f"python -m {spec.name if spec else main.__module__}", description=purpose
    ).parse_args()
    run(main)


def run(main: Callable[[], None]) -> None:
    """Run an entry point; an expected failure ends in one line on standard error."""
    before = {number: signal.signal(number, interrupt) for number in SIGNALS}
    sys.unraisablehook = interrupt_in_destructor
    if hasattr(sys.stdout, "reconfigure"):
        # Names of files are printed byte by byte as they are on disk (PEP 383).
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
    try:
        main()
        print(end="", flush=True)
    except (UserError, Interrupted) as error:
        fail(str(error), error.exit_code)
    except BrokenPipeError:
        # `| head` has seen enough.
        sys.exit(128 + signal.SIGPIPE)
    except OSError as error:
        where = f"{one_line(error.filename)}: " if error.filename else ""
        fail(f"{where}{error.strerror or one_line(error)}", 2)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        sys.unraisablehook = sys.__unraisablehook__
        try:
            print(end="", flush=True)
        except OSError:
            # Python would try once more when it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def interrupt(number: int, frame: FrameType | None) -> None:
    """Leave by way of every `finally`; the same signal once more ends the process at once."""
    signal.signal(number, signal.SIG_DFL)
    raise Interrupted(number)


def interrupt_in_destructor(lost: "sys.UnraisableHookArgs") -> None:
    """End at once where Python drops an interruption, as it does with what a destructor raises.

    TensorFlow's functions have destructors; the program would go on.
    """
    if not isinstance(lost.exc_value, Interrupted):
        sys.__unraisablehook__(lost)
        return
    print(f"error: {lost.exc_value}", file=sys.stderr, flush=True)
    os._exit(lost.exc_value.exit_code)


def fail(message: str, exit_code: int) -> None:
    """Say why, and leave."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(exit_code)


def check_room(path: Path, size: int) -> None:
    """Raise a UserError where the disk has no room for `size` bytes more at `path`."""
    free = shutil.disk_usage(path.parent).free
    if free < size:
        raise UserError(f"{path}: {size:,} bytes needed, {free:,} free on its disk")


@contextmanager
def replacing(path: Path, size: int = 0) -> Iterator[Path]:
    """Yield a path beside `path` to write `size` bytes to, which takes its place afterwards.

    When the body raises, `path` keeps what it held, and nothing remains of the unfinished file.

    Raises:
        UserError: there is no room, or a write failed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".unfinished-{path.name}")
    check_room(path, size)
    try:
        yield unfinished
        os.replace(unfinished, path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            free = shutil.disk_usage(path.parent).free
            full = f"{size:,} bytes needed, {free:,} free on its disk: {error.strerror}"
            raise UserError(f"{path}: {full}") from None
        # A failed write does not name its file.
        if error.filename is None:
            raise UserError(f"{path}: {error.strerror or error}") from None
        raise
    finally:
        unfinished.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Let `path` hold `content`, or what it held before."""
    with replacing(path, len(content)) as unfinished:
        unfinished.write_bytes(content)
