"""Checks the GPU's step against the CPU's, and measures it; `make gpu-check` does.

    python -m benchmarks.gpu_check

Takes the first steps of airbench94 in each way, on the same images in the same order: their mean
loss, whether a second process leaves the same bytes, and the times. Then trains airbench94 once to
its end, on all training images, and tests it. Needs the arrays (`dvc repro preprocess`).
"""

from typing import Any

import pandas as pd

from benchmarks.turns import measure, ours
from pipeline.common import device
from pipeline.common.params import read_params
from pipeline.common.shell import run_stage


def measured(recipe: dict, place: str, precision: str, deterministic: bool) -> dict[str, Any]:
    """Return a row of the table: what two processes measure that take the same steps."""
    size = recipe["batch_size"]
    way: dict[str, Any] = {"precision": precision, "deterministic": deterministic}
    steps = ours("steps", recipe, count=20, seconds=2, place=place, **way)
    # One after the other, since each takes a GPU to itself.
    first, second = measure(steps), measure(steps)
    rate = max(first["images_per_second"], second["images_per_second"])
    return {"device": place, **way} | {
        "same bytes twice": first["weights"] == second["weights"],
        "loss": round(first["loss"], 4),
        "step, ms": round(1000 * size / rate, 2),
        "first call, s": round(first["first_call"], 1),
    }


def main() -> None:
    # Now, and not in the processes, fails what is not there.
    device.use("gpu")
    recipe = read_params().recipes["airbench94"].model_dump()
    ways = [("cpu", "float32", True)]
    ways += [("gpu", "float32", True), ("gpu", "bfloat16", True), ("gpu", "bfloat16", False)]
    rows = [measured(recipe, *way) for way in ways]
    print(pd.DataFrame(rows).to_string(index=False), flush=True)
    # An epoch that compiles takes longer than the next one.
    measure(ours("train", recipe, recipe["epochs"], seed=0, place="gpu"))


if __name__ == "__main__":
    run_stage(main, __doc__)
