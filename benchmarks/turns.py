"""What the two sides of a comparison share: the images, the clock, and taking turns."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from pipeline.data.arrays import Split, load

Row = dict[str, Any]


def training_images(count: int | None = None) -> Split:
    """Return the first so many training images, or all, and labels, however they are split."""
    parts = [[part[:count] for part in load(split)] for split in ("train", "validation")]
    images, labels = map(np.concatenate, zip(*parts, strict=True))
    return images[:count], labels[:count]


def duration(work: Callable[[], object], seconds: float, warm_up: int = 2) -> float:
    """Return the median time of a repetition, s, over a span of `seconds`."""
    for _ in range(warm_up):
        work()
    durations: list[float] = []
    while sum(durations) < seconds:
        start = time.monotonic()
        work()
        durations.append(time.monotonic() - start)
    return median(durations)


class Program(NamedTuple):
    """One side: its name, its Python, what `answer` there is told, how many rows are wanted."""

    name: str
    python: list[str]
    work: str
    settings: dict[str, Any]
    wanted: int = 1


def ours(work: str, recipe: dict, rows: int = 1, **settings: Any) -> Program:
    """Return a measurement of this project."""
    python = [sys.executable, "-m", "benchmarks.ours"]
    return Program("this project", python, work, {"recipe": recipe, **settings}, rows)


def answer(*works: Callable[..., Iterator[Row]]) -> None:
    """Do the work that the command line names, with its settings; print each row when asked to."""
    work, settings = sys.argv[1:]
    rows = {each.__name__: each for each in works}[work](**json.loads(settings))
    for row in rows:
        print(json.dumps(row), flush=True)
        # Until the other side has had its turn.
        if not sys.stdin.readline():
            return


def measure(program: Program) -> Row:
    """Return the last row of a program that has the machine to itself."""
    return in_turns(program)[0][-1]


def in_turns(*programs: Program) -> list[list[Row]]:
    """Return the rows of each program; who has the smallest share of them goes on.

    So all see the same machine, however fast it is meanwhile.
    """
    rows: list[list[Row]] = [[] for _ in programs]
    with ExitStack() as stack:
        sources = [stack.enter_context(closing(rows_of(program))) for program in programs]
        for _ in range(sum(program.wanted for program in programs)):
            now = min(range(len(rows)), key=lambda n: len(rows[n]) / programs[n].wanted)
            rows[now].append(next(sources[now]))
            print(f"{programs[now].name}, {programs[now].work}: {rows[now][-1]}", flush=True)
    return rows


def rows_of(program: Program) -> Generator[Row]:
    """Start a program, and let it go on whenever one more row is asked for."""
    command = [*program.python, program.work, json.dumps(program.settings)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin
        assert process.stdout
        try:
            for line in process.stdout:
                # Libraries may print as well.
                if line.startswith("{"):
                    yield json.loads(line)
                    print(file=process.stdin, flush=True)
            raise subprocess.CalledProcessError(process.wait(), command)
        finally:
            process.kill()
