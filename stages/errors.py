"""How a stage ends before its time: one line on standard error, no traceback, an exit code."""

import argparse
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from types import FrameType

from stages import output

SIGNALS = (signal.SIGINT, signal.SIGTERM)
PAUSE = 0.05  # Seconds, for a destructor to end.


class InputError(Exception):
    """What the user gave cannot be used: exit code 2.

    The message names the file or the key, what was found there and what is allowed.
    """


class TrainingError(Exception):
    """Training cannot go on: exit code 1."""


def printable(text: str) -> str:
    """Return a text with what does not print escaped: control characters, bytes of a file name."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def in_one_line(reason: object) -> str:
    """Return what an exception says on one line, or its type's name where it says nothing."""
    return printable(" ".join(str(reason).split()) or type(reason).__name__)


class Interrupted(BaseException):
    """A signal asks the stage to end: exit code 128 and the signal's number."""

    def __init__(self, number: int):
        """Take the signal's number."""
        super().__init__(f"interrupted by {signal.Signals(number).name}")
        self.number = number
        self.exit_code = 128 + number


def interrupt(number: int, frame: FrameType | None) -> None:
    """Leave by way of every `finally`; the same signal once more ends the process at once."""
    signal.signal(number, signal.SIG_DFL)
    raise Interrupted(number)


def interrupt_again(lost: "sys.UnraisableHookArgs") -> None:
    """Send the signal once more where Python dropped its exception.

    It does so in destructors, as TensorFlow's functions have them; the stage would go on.
    """
    if not isinstance(lost.exc_value, Interrupted):
        sys.__unraisablehook__(lost)
        return
    number = lost.exc_value.number
    signal.signal(number, interrupt)
    # Not from here, where the exception would be dropped again.
    threading.Timer(PAUSE, os.kill, (os.getpid(), number)).start()


def exit_with_message(main: Callable[[], None], purpose: str | None = None) -> None:
    """Run the entry point of a stage; turn an expected failure into one line and an exit code.

    Args:
        main: the entry point.
        purpose: what `--help` says of a stage, which takes no other arguments; None for a program
            that reads its arguments itself.
    """
    if purpose is not None:
        name = f"python -m {sys.modules['__main__'].__package__}"
        argparse.ArgumentParser(prog=name, description=purpose).parse_args()
    # PYTHONWARNINGS=error is for programs whose every library is their author's.
    warnings.filters = [action for action in warnings.filters if action[0] != "error"]
    before = {number: signal.signal(number, interrupt) for number in SIGNALS}
    sys.unraisablehook = interrupt_again
    try:
        with output.printing():
            main()
    except InputError as error:
        end(str(error), 2)
    except OSError as error:
        # An OSError without a file name is a defect of ours and keeps its traceback.
        if error.filename is None:
            raise
        # Whoever reads has seen enough, `head` for example: end without a word, as others do.
        if isinstance(error, BrokenPipeError) and error.filename == output.NAME:
            sys.exit(128 + signal.SIGPIPE)
        end(f"{printable(str(error.filename))}: {error.strerror}", 2)
    except TrainingError as error:
        end(str(error), 1)
    except Interrupted as interruption:
        end(str(interruption), interruption.exit_code)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        sys.unraisablehook = sys.__unraisablehook__


def end(message: str, exit_code: int) -> None:
    """Say why, and leave."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(exit_code)
