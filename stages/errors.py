"""How a stage refuses: one line on standard error, exit code 2, no traceback."""

import sys
from collections.abc import Callable


class InputError(Exception):
    """What the user gave cannot be used.

    The message names the file or the key, what was found there and what is allowed.
    """


def exit_with_message(main: Callable[[], None]) -> None:
    """Run the entry point of a stage; turn an expected failure into one line and exit code 2."""
    try:
        main()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
    except OSError as error:
        # An OSError without a file name is a defect of ours and keeps its traceback.
        if error.filename is None:
            raise
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
    else:
        return
    sys.exit(2)
