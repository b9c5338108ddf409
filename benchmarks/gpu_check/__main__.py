"""Checks the GPU's step against the CPU's, and measures it; `make gpu-check` does.

    python -m benchmarks.gpu_check [--recipe airbench94] [--steps 20]

Each way to take the step runs in a process of its own, on the same images in the same order.
Prints a line for each: the mean loss of the steps, how far the weights are from the CPU's, whether
a second run gives the same bytes, whether the device has all operations, and the time of a step.
Then the recipe is trained once to its end, on all training images, and tested. Needs the arrays
(`dvc repro preprocess`).
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

PROGRAM = [sys.executable, "-m"]
COLUMNS = ("device", "precision", "XLA", "deterministic")
REFERENCE = ("cpu", "float32", "no", "yes")
WAYS = (
    ("gpu", "float32", "no", "yes"),
    ("gpu", "float32", "yes", "yes"),
    ("gpu", "bfloat16", "no", "yes"),
    ("gpu", "bfloat16", "yes", "yes"),
    ("gpu", "bfloat16", "yes", "no"),
)


def measured(recipe: str, steps: int, weights: Path, way: tuple[str, ...]) -> dict[str, Any]:
    """Return what a process of its own measures of some steps, which leaves the weights there."""
    command = [*PROGRAM, "benchmarks.gpu_check.steps", recipe, str(steps), str(weights), *way]
    result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(result.stdout.splitlines()[-1])


def distance(one: Path, other: Path) -> float:
    """Return the distance of the weights in two files, relative to those of the other."""
    with np.load(one, allow_pickle=False) as a, np.load(other, allow_pickle=False) as b:
        squares = [(((a[name] - b[name]) ** 2).sum(), (b[name] ** 2).sum()) for name in b]
    difference, norm = np.sqrt(np.sum(squares, axis=0, dtype=np.float64))
    return float(difference / norm)


def compared(recipe: str, steps: int, place: str) -> pd.DataFrame:
    """Return a row for the CPU and one for each way on a device."""
    rows: list[dict[str, str]] = []
    with tempfile.TemporaryDirectory() as folder:
        reference = Path(folder, "reference.npz")
        for way in (REFERENCE, *((place, *way[1:]) for way in WAYS)):
            paths = [Path(folder, f"{run}.npz") for run in ("first", "second")]
            try:
                first, second = (measured(recipe, steps, path, way) for path in paths)
            except subprocess.CalledProcessError:
                print(f"failed: {' '.join(way)}", flush=True)
                continue
            if not rows:
                shutil.copy(paths[0], reference)
            rows.append(
                dict(zip(COLUMNS, way, strict=True))
                | {
                    "loss": f"{first['loss']:.4f}",
                    "weights' distance": f"{distance(paths[0], reference):.1e}",
                    "same twice": "no" if distance(*paths) else "yes",
                    "all there": first["missing"] or "yes",
                    "first call, s": f"{first['first_call']:.1f}",
                    "step, ms": f"{1000 * min(first['step'], second['step']):.2f}",
                }
            )
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_check", description=__doc__)
    parser.add_argument("--recipe", default="airbench94")
    parser.add_argument("--steps", type=int, default=20, help="a multiple of ten")
    parser.add_argument("--device", default="gpu", choices=("gpu", "cpu"), help="cpu: a rehearsal")
    given = parser.parse_args()
    print(compared(given.recipe, given.steps, given.device).to_string(index=False), flush=True)
    command = [*PROGRAM, "benchmarks.gpu_check.whole", given.recipe, given.device, "bfloat16"]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
