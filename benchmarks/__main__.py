"""Compares this project with PyTorch, on the same work in turns.

    python -m benchmarks [--quick]

Needs the arrays (`dvc repro preprocess`) and PyTorch in .venv-bench/RELEASE; `make bench` sees to
both. Nothing else should run meanwhile.
"""

import argparse
import os
from collections import defaultdict
from itertools import product, starmap
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from benchmarks.turns import Program, in_turns, measure, ours
from pipeline.common import device
from pipeline.common.params import read_params
from pipeline.common.shell import UserError, run

BATCH_SIZES = (250, 500, 1000)
PEERS = Path(".venv-bench")
# Of the published recipe; ours has small images in half of its epochs.
PEER_EPOCHS = 8
PEER_BATCH_SIZE = 2000
STEPS = 5

Row = tuple[str, ...]


class Peer(NamedTuple):
    """How PyTorch computes: its release, eager or compiled, precision and size of batches."""

    release: str
    mode: str
    precision: str
    batch_size: int

    def program(self, work: str, recipe: dict, rows: int = 1, **settings: Any) -> Program:
        python = [str(PEERS / self.release / "bin/python"), "-m", "benchmarks.peer"]
        settings |= {"mode": self.mode, "precision": self.precision}
        settings["recipe"] = recipe | {"batch_size": self.batch_size}
        return Program(str(self), python, work, settings, rows)

    def __str__(self) -> str:
        return f"PyTorch {self.release}, {self.mode}, {self.precision}, batch {self.batch_size}"


def shown(values: list[float]) -> str:
    """Return median and range."""
    low, middle, high = (f"{f(values):.0f}" for f in (min, median, max))
    return f"{middle} ({low} to {high})"


def compare_steps(
    recipe: dict, batch_sizes: tuple[int, ...], rounds: int, seconds: float
) -> tuple[list[Row], Peer]:
    """Return rows about the training step, and the fastest settings of PyTorch."""
    releases = sorted(path.parent.name for path in PEERS.glob("*/bin"))
    if not releases:
        raise UserError(f"{PEERS}: no PyTorch in there; `make bench` installs it")
    precisions = ("float32", "bfloat16") if device.cpu_multiplies_bfloat16() else ("float32",)
    mine: dict[int, list[float]] = defaultdict(list)
    theirs: dict[Peer, list[float]] = defaultdict(list)
    # One process at a time, for the memory that each takes.
    for _, size in product(range(rounds), batch_sizes):
        program = ours("steps", recipe | {"batch_size": size}, count=STEPS, seconds=seconds)
        mine[size].append(measure(program)["images_per_second"])
        for peer in starmap(Peer, product(releases, ("eager", "compile"), precisions, [size])):
            program = peer.program("steps", recipe, seconds=seconds)
            theirs[peer].append(measure(program)["images_per_second"])
    fastest = max(theirs, key=lambda peer: median(theirs[peer]))
    best = max(map(median, mine.values())), median(theirs[fastest])
    rows = [(f"images/s, batch {size}", shown(rates), "", "") for size, rates in mine.items()]
    rows += [(f"images/s, {peer}", "", shown(rates), "") for peer, rates in theirs.items()]
    ratio = f"{best[0] / best[1]:.2f}"
    return [*rows, ("images/s, the best of each", *map("{:.0f}".format, best), ratio)], fastest


def compare_trainings(recipe: dict, fastest: Peer) -> list[Row]:
    """Return rows about whole trainings, PyTorch's with two batch sizes."""
    peers = fastest, fastest._replace(batch_size=PEER_BATCH_SIZE)
    shorter = recipe | {"epochs": PEER_EPOCHS}
    theirs = (peer.program("train", shorter, PEER_EPOCHS, seed=0) for peer in peers)
    found = in_turns(ours("train", recipe, recipe["epochs"], seed=0), *theirs)
    us, *others = (rows[-1] for rows in found)
    table: list[Row] = []
    for peer, them in zip(peers, others, strict=True):
        if us["images"] != them["images"]:
            raise UserError(f"{peer}: {them['images']} training images, {us['images']} here")
        ratio = f"{us['seconds'] / them['seconds']:.2f}"
        table += [
            (f"training, s; {peer}", f"{us['seconds']:.0f}", f"{them['seconds']:.0f}", ratio),
            ("test accuracy, six views", f"{us['tta']:.4f}", f"{them['tta']:.4f}", ""),
        ]
    return table


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the step only, no training")
    quick = parser.parse_args().quick
    recipe = read_params().recipes["airbench94"].model_dump()
    if recipe["network"]["block_depth"] != 2:
        raise UserError("params.yaml: recipes.airbench94.network.block_depth: the peer has only 2")
    # For both sides: as dvc.yaml sets it for training, and no GPU.
    os.environ |= {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1", "CUDA_VISIBLE_DEVICES": ""}

    sizes, rounds, seconds = ((500,), 1, 5.0) if quick else (BATCH_SIZES, 3, 8.0)
    rows, fastest = compare_steps(recipe, sizes, rounds, seconds)
    if not quick:
        rows += compare_trainings(recipe, fastest)
    print("\n| what | this project | the other | ratio |\n|---|---|---|---|")
    for row in rows:
        print("|", " | ".join(row), "|")
    machine = device.provenance()
    facts = ("processor", "threads", "tensorflow", "keras")
    print("\n" + ", ".join(f"{fact} {machine[fact]}" for fact in facts))


if __name__ == "__main__":
    run(main)
