"""What the two sides of a comparison share: the images, the clock, and taking turns."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack, closing
from typing import Any, NamedTuple

import numpy as np

from pipeline.data.arrays import load

Row = dict[str, Any]


def training_images(count: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the first so many training images, or all, and labels, however they are split."""
    images, labels = load("train")
    if count is None or count > len(labels):
        more_images, more_labels = load("validation")
        images, labels = np.concatenate([images, more_images]), np.append(labels, more_labels)
    return images[:count], labels[:count]


def timed(work: Callable[[], object], seconds: float, warm_up: int = 2) -> list[float]:
    """Return how long each repetition took, s, over a span of `seconds`."""
    for _ in range(warm_up):
        work()
    durations: list[float] = []
    while sum(durations) < seconds:
        start = time.monotonic()
        work()
        durations.append(time.monotonic() - start)
    return durations


def print_in_turns(rows: Iterable[Row]) -> None:
    """Print each row as JSON, and go on once the other side has had its turn, if asked to."""
    for row in rows:
        print(json.dumps(row), flush=True)
        if not sys.stdin.readline():
            return


class Program(NamedTuple):
    """A command that prints in turns, and how many rows of it are wanted."""

    command: list[str]
    wanted: int


def ours(what: str, *arguments: object, rows: int = 1) -> Program:
    """Return a measurement of this project."""
    texts = [json.dumps(argument) for argument in arguments]
    return Program([sys.executable, "-m", "benchmarks.ours", what, *texts], rows)


def rows_of(command: list[str]) -> Generator[Row]:
    """Start a command, and let it go on whenever one more row is asked for."""
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin
        assert process.stdout
        try:
            for line in process.stdout:
                if line.startswith("{"):
                    yield json.loads(line)
                    print(file=process.stdin, flush=True)
            raise subprocess.CalledProcessError(process.wait(), command)
        finally:
            process.kill()


def in_turns(*programs: Program) -> list[list[Row]]:
    """Return the rows of each program; who has the smallest share of them goes on.

    So all see the same machine, however fast it is meanwhile.
    """
    rows: list[list[Row]] = [[] for _ in programs]
    with ExitStack() as stack:
        sources = [stack.enter_context(closing(rows_of(command))) for command, _ in programs]
        for _ in range(sum(program.wanted for program in programs)):
            now = min(range(len(rows)), key=lambda n: len(rows[n]) / programs[n].wanted)
            rows[now].append(next(sources[now]))
            words = (text for text in programs[now].command[1:] if not text.startswith("{"))
            print(*words, rows[now][-1], flush=True)
    return rows
