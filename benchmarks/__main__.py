"""Compares this project with PyTorch and with the tutorial, on the same work in turns.

    python -m benchmarks [--quick]

Needs the arrays (`dvc repro preprocess`) and, in .venv-bench, what benchmarks/requirements.txt
names; `make bench` sees to both. Nothing else should run meanwhile.
"""

import argparse
import os
import subprocess
from itertools import product, starmap
from statistics import median
from typing import Any

from benchmarks.machine import describe, precisions
from benchmarks.programs import PEER_PYTHON, PeerSettings, call, ours, peer, tutorial
from benchmarks.turns import Training, in_turns
from stages.params import document

BATCH_SIZES = (250, 500, 1000)
MODES = ("eager", "compile")
TUTORIAL_ACCURACY = 0.7747
# What passes it soonest, chosen on the validation images: two epochs, the first on small images.
SHORT: dict[str, Any] = {
    "network": {"widths": [24, 96, 128], "whitening_images": 1000, "whitening_epochs": 0},
    "optimizer": {"kernel_learning_rate": 0.24},
    "augmentation": {"low_resolution": 20, "low_resolution_share": 0.5, "translation": 0},
    "batch_size": 200,
    "epochs": 2,
}
SHORT_IMAGES = 15_500
SEEDS = (0, 1, 2)
# Of the published recipe.
PEER_EPOCHS = 8
PEER_BATCH_SIZE = 2000

# Images per second, ours by the size of a batch.
OurRates = dict[int, list[float]]
PeerRates = dict[PeerSettings, list[float]]
Row = tuple[str, ...]


def merged(recipe: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return the recipe with some values replaced, those of parts inside the parts."""
    return recipe | {
        key: merged(recipe[key], value) if isinstance(value, dict) else value
        for key, value in changes.items()
    }


def flops(widths: list[int]) -> int:
    """Return the floating-point operations of one training step on one image, convolutions only.

    Those of direct convolution, a multiplication and an addition counted as two, forward, backward
    for the inputs and backward for the weights. Ours gets the same with fewer.
    """
    products, inputs, side = 0, 24, 31
    for width in widths:
        products += side**2 * 9 * inputs * width
        side //= 2
        products += side**2 * 9 * width * width
        inputs = width
    return 2 * 3 * products


def throughputs(recipe: dict, rounds: int, seconds: float) -> tuple[OurRates, PeerRates]:
    """Return images per second of ours and of PyTorch, by settings, taken in turns."""
    mine: OurRates = {}
    theirs: PeerRates = {}
    for _ in range(rounds):
        for batch_size in BATCH_SIZES:
            (row,) = call(ours("throughput", batch_size, recipe, seconds))
            mine.setdefault(batch_size, []).extend(row["images_per_second"])
            for settings in starmap(PeerSettings, product(MODES, precisions(), [batch_size])):
                (row,) = call(peer("throughput", settings, recipe, seconds))
                theirs.setdefault(settings, []).extend(row["images_per_second"])
    return mine, theirs


def shown(values: list[float], digits: int = 0) -> str:
    """Return median and range."""
    low, middle, high = (f"{f(values):.{digits}f}" for f in (min, median, max))
    return f"{middle} ({low} to {high})"


def print_table(rows: list[Row]) -> None:
    """Print rows of Markdown."""
    print("\n| what | this project | peer | ratio |\n|---|---|---|---|")
    for row in rows:
        print("|", " | ".join(row), "|")
    print()


def step_rows(
    mine: OurRates, theirs: PeerRates, peaks: dict[str, float], widths: list[int]
) -> list[Row]:
    """Return the table's rows about airbench94's training step."""
    rows: list[Row] = [
        (f"images/s, {precisions()[-1]}, batch {batch_size}", shown(rates), "", "")
        for batch_size, rates in mine.items()
    ]
    rows += [(f"images/s, {settings}", "", shown(rates), "") for settings, rates in theirs.items()]
    best = [max(map(median, rates.values())) for rates in (mine, theirs)]
    rows.append(("best images/s", *(f"{rate:.0f}" for rate in best), f"{best[0] / best[1]:.2f}"))
    gflops = (f"{rate * flops(widths) / 1e9:.0f}" for rate in best)
    rows.append(("direct convolution's GFLOP/s", *gflops, ""))
    rows += [
        (
            f"share of {peak / 1e9:.0f} GFLOP/s, a matrix product's in {precision}",
            *(f"{rate * flops(widths) / peak:.2f}" for rate in best),
            "",
        )
        for precision, peak in peaks.items()
    ]
    return rows


def short_rows(recipe: dict, tutorial_recipe: dict, seconds: float) -> list[Row]:
    """Return the rows about the time to the tutorial's accuracy, the tutorial timed in between."""
    rates = tutorial(tutorial_recipe, seconds)
    trainings = []
    for seed in SEEDS:
        training = Training(
            ours("train", merged(recipe, SHORT), seed, SHORT_IMAGES), SHORT["epochs"]
        )
        in_turns(training)
        trainings.append(training)
        rates += tutorial(tutorial_recipe, seconds)
    written = [50 * 40_000 / rate for rate in rates]
    times, accuracies = (
        [training.rows[-1][name] for training in trainings] for name in ("seconds", "plain")
    )
    ratio = f"1/{median(written) / median(times):.0f}"
    return [
        ("short training, tutorial as written, s", shown(times, 1), shown(written), ratio),
        (f"test accuracy, to pass {TUTORIAL_ACCURACY}", shown(accuracies, 4), "", ""),
    ]


def training_rows(recipe: dict, fastest: PeerSettings) -> list[Row]:
    """Return the rows about whole trainings, the peer's with two batch sizes."""
    mine = Training(ours("train", recipe, 0), recipe["epochs"])
    peer_recipe = recipe | {"epochs": PEER_EPOCHS}
    theirs = {
        settings: Training(peer("train", settings, peer_recipe, 0), PEER_EPOCHS)
        for settings in (fastest, fastest._replace(batch_size=PEER_BATCH_SIZE))
    }
    in_turns(mine, *theirs.values())
    rows: list[Row] = []
    for settings, training in theirs.items():
        sides = mine.rows[-1], training.rows[-1]
        ratio = f"{sides[0]['seconds'] / sides[1]['seconds']:.2f}"
        rows += [
            (
                f"training, s; peer {settings}",
                *(f"{side['seconds']:.0f}" for side in sides),
                ratio,
            ),
            ("test accuracy", *(f"{side['plain']:.4f}" for side in sides), ""),
            ("test accuracy, flip and translate", *(f"{side['tta']:.4f}" for side in sides), ""),
        ]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="within 10 minutes, no full training")
    quick = parser.parse_args().quick
    rounds, seconds = (1, 5.0) if quick else (3, 8.0)
    recipes = document()["recipes"]
    large = recipes["airbench94"]
    if large["network"]["block_depth"] != 2:
        parser.error("recipes.airbench94.network.block_depth: the peer has two convolutions")
    # For both sides, as dvc.yaml sets it for training.
    os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"

    (peaks,) = call(ours("peak", seconds / 2))
    mine, theirs = throughputs(large, rounds, seconds)
    (outside,) = call(ours("outside", large, 10_000 if quick else 50_000))
    short = short_rows(recipes["airbench_small"], recipes["tutorial"], seconds)

    peak = {precision: median(rates) for precision, rates in peaks.items()}
    rows = step_rows(mine, theirs, peak, large["network"]["widths"])
    share = 1 - sum(outside["bare"]) / sum(outside["loop"])
    rows.append(("epoch's time outside the step", f"{share:.1%}", "", ""))
    rows += short
    if not quick:
        rows += training_rows(large, max(theirs, key=lambda settings: median(theirs[settings])))
    print_table(rows)
    torch = [str(PEER_PYTHON), "-c", "import torch; print(torch.__version__)"]
    print(f"{describe()}, PyTorch {subprocess.check_output(torch, text=True).strip()}")


if __name__ == "__main__":
    main()
