"""Shows what each idea is worth, from the tutorial up: python -m benchmarks.ladder [EPOCHS].

Each row trains the row before with one idea more, three seeds of it, as experiments in DVC's queue.
Prints a Markdown table: mean, lowest and highest accuracy of the seeds, on the validation images
after the last epoch and on the test images.
"""

import subprocess
import sys
import time
from statistics import mean

import dvc.api
from dvc.repo import Repo

EPOCHS = 3
SEEDS = (0, 1, 2)
RECIPE = "recipes.tutorial"
# What a row adds, in the words of `dvc exp run -S`.
LADDER: dict[str, tuple[str, ...]] = {
    "the tutorial": (),
    "mirrored images": (f"{RECIPE}.augmentation.flip=random",),
    "translation by 2 pixels": (f"{RECIPE}.augmentation.translation=2",),
    "falling rate": (f"{RECIPE}.schedule.name=linear",),
    "label smoothing": (f"{RECIPE}.label_smoothing=0.2",),
    "Muon": (f"{RECIPE}.optimizer.name=muon",),
    "the airbench network": (
        f"{RECIPE}.network.name=airbench",
        f"+{RECIPE}.optimizer={{head_learning_rate: 0.67, bias_learning_rate: 0.053}}",
    ),
    "averaging at test time": ("evaluate.tta=flip_translate",),
}


def name_of(row: int, seed: int) -> str:
    """Return the name of an experiment."""
    return f"ladder-{row}-seed-{seed}"


def settings(row: int, seed: int, epochs: int) -> list[str]:
    """Return what an experiment sets, in the words of `dvc exp run -S`."""
    ideas = [*LADDER.values()][: row + 1]
    return [
        f"seed={seed}",
        "recipe=tutorial",
        f"{RECIPE}.epochs={epochs}",
        "evaluate.tta=none",
        *(setting for idea in ideas for setting in idea),
    ]


def queue(epochs: int) -> None:
    """Put every row and seed into DVC's queue, in place of those of an earlier ladder."""
    names = [name_of(row, seed) for row in range(len(LADDER)) for seed in SEEDS]
    subprocess.run(["dvc", "queue", "remove", *names], check=False, capture_output=True)
    subprocess.run(["dvc", "exp", "remove", *names], check=False, capture_output=True)
    for seed in SEEDS:
        for row in range(len(LADDER)):
            options = [part for value in settings(row, seed, epochs) for part in ("-S", value)]
            command = ["dvc", "exp", "run", "--queue", "--name", name_of(row, seed), *options]
            subprocess.run(command, check=True)


def wait() -> None:
    """Run what is queued, one after the other, until nothing is left."""
    subprocess.run(["dvc", "queue", "start", "--jobs", "1"], check=True)
    with Repo() as repo:
        # Not by the command, which takes seconds of the processor that the training needs.
        tasks = repo.experiments.celery_queue
        while [*tasks.iter_queued(), *tasks.iter_active()]:
            time.sleep(10)


def table() -> str:
    """Return the results as a Markdown table.

    Raises:
        SystemExit: an experiment has failed, or has not run.
    """
    results = {row["Experiment"]: row for row in dvc.api.exp_show()}
    lines = [
        "| idea, added to the row above | validation accuracy | test accuracy |",
        "|---|---|---|",
    ]
    for row, idea in enumerate(LADDER):
        cells = []
        for metric in ("val_accuracy", "accuracy"):
            values = [results.get(name_of(row, seed), {}).get(metric) for seed in SEEDS]
            if None in values:
                sys.exit(f"{idea}: not all seeds have run; `dvc queue logs` of each says why")
            percent = [100 * float(value) for value in values]
            cells.append(f"{mean(percent):.2f} % ({min(percent):.2f} to {max(percent):.2f})")
        lines.append(f"| {idea} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    epochs = int(sys.argv[1]) if sys.argv[1:] else EPOCHS
    queue(epochs)
    wait()
    print(table())


if __name__ == "__main__":
    main()
