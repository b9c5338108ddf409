"""A terminal that keeps what is drawn on it."""

import io

import pytest


class Terminal(io.StringIO):
    """Standard error as tqdm wants it to draw its bars."""

    def isatty(self) -> bool:
        return True

    @property
    def states(self) -> list[str]:
        """The states of a bar, each drawn over the one before."""
        return [state.strip() for state in self.getvalue().split("\r") if state.strip()]


def make_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Let standard error be a terminal of no known width."""
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.delenv("COLUMNS", raising=False)
    return terminal
