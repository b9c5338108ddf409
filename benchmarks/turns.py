"""Lets trainings take turns, so that all see the same machine, whatever its rate does."""

import json
import subprocess
import sys
from collections.abc import Iterable
from typing import Any

Row = dict[str, Any]


def print_in_turns(rows: Iterable[Row]) -> None:
    """Print each row of a training as JSON, and go on once the other side has had its turn."""
    for row in rows:
        print(json.dumps(row), flush=True)
        sys.stdin.readline()


class Training:
    """A program that prints in turns."""

    def __init__(self, command: list[str], epochs: int):
        """Take the command, started at its first turn, and how many rows it will print."""
        self.command, self.epochs = command, epochs
        self.process: subprocess.Popen[str] | None = None
        self.rows: list[Row] = []

    @property
    def share(self) -> float:
        """Return the share of the epochs that are done."""
        return len(self.rows) / self.epochs

    def take_turn(self) -> None:
        """Train one epoch."""
        if self.process is None:
            pipe = subprocess.PIPE
            self.process = subprocess.Popen(self.command, stdin=pipe, stdout=pipe, text=True)
        else:
            assert self.process.stdin
            print(file=self.process.stdin, flush=True)
        assert self.process.stdout
        for line in self.process.stdout:
            if line.startswith("{"):
                self.rows.append(json.loads(line))
                return
        raise subprocess.CalledProcessError(self.process.wait(), self.command)

    def end(self) -> None:
        """Let the program end, at once where it has not finished."""
        if self.process:
            if self.share < 1:
                self.process.kill()
            self.process.communicate()


def in_turns(*trainings: Training) -> None:
    """Run trainings to their end; who has the smallest share behind it goes on."""
    try:
        while (training := min(trainings, key=lambda each: each.share)).share < 1:
            training.take_turn()
            row = training.rows[-1]
            arguments = (text for text in training.command[1:] if not text.startswith("{"))
            print(*arguments, *(f"{k} {v:.4g}" for k, v in row.items()), flush=True)
    finally:
        for training in trainings:
            training.end()
