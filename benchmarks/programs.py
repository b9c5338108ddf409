"""The programs that measure, each in a process of its own, and what they print."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

PEER_PYTHON = Path(".venv-bench/bin/python")


class PeerSettings(NamedTuple):
    """How PyTorch computes: eager or compile, float32 or bfloat16, and in which batches."""

    mode: str
    precision: str
    batch_size: int

    def __str__(self) -> str:
        """Return the settings in words."""
        return f"{self.mode}, {self.precision}, batch {self.batch_size}"


def call(command: list[str]) -> Iterator[dict[str, Any]]:
    """Return each line of JSON that a measuring program prints among others, and say what runs."""
    print("running", *(part for part in command[1:] if not part.startswith("{")), flush=True)
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    yield from (json.loads(line) for line in result.stdout.splitlines() if line.startswith("{"))


def ours(what: str, *arguments: object) -> list[str]:
    """Return the command of a measurement of this project."""
    texts = [json.dumps(argument) for argument in arguments]
    return [sys.executable, "-m", "benchmarks.ours", what, *texts]


def peer(what: str, settings: PeerSettings, recipe: dict, last: float) -> list[str]:
    """Return the command of a measurement of PyTorch."""
    command = [str(PEER_PYTHON), "-m", "benchmarks.peer", what, "cpu", *map(str, settings)]
    return [*command, json.dumps(recipe), str(last)]


def tutorial(recipe: dict, seconds: float) -> list[float]:
    """Return images per second of the tutorial as written."""
    module = "benchmarks.tutorial_as_written"
    (row,) = call([sys.executable, "-m", module, json.dumps(recipe), str(seconds)])
    return row["images_per_second"]
