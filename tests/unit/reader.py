"""Standard output as who reads it through a pipe sees it."""

import io
import sys

import pytest


class Pipe(io.StringIO):
    """A stream whose text arrives when it is flushed."""

    def __init__(self) -> None:
        """Start empty."""
        super().__init__()
        self.arrived = ""

    def flush(self) -> None:
        """Let everything arrive that was written."""
        self.arrived = self.getvalue()


def read_output(patch: pytest.MonkeyPatch) -> Pipe:
    """Replace standard output by a pipe, and return it."""
    pipe = Pipe()
    patch.setattr(sys, "stdout", pipe)
    return pipe
