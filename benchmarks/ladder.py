"""Shows what each idea is worth, from the tutorial up: python -m benchmarks.ladder [EPOCHS].

Each row trains the row before with one idea more, three seeds of it, as experiments of DVC. Prints
a Markdown table: mean, lowest and highest accuracy of the seeds, on the validation images after the
last epoch and on the test images.
"""

import sys
from itertools import chain, product

import dvc.api
import pandas as pd

from benchmarks.record import run_experiment

EPOCHS = 3
SEEDS = (0, 1, 2)
RECIPE = "recipes.tutorial"
# What a row adds, in the words of `dvc exp run -S`.
LADDER = {
    "the tutorial": ["recipe=tutorial", "evaluate.test_time_augmentation=none"],
    "mirrored images": [f"{RECIPE}.augmentation.flip=random"],
    "translation by 2 pixels": [f"{RECIPE}.augmentation.translation=2"],
    "falling learning rate": [f"{RECIPE}.schedule.name=linear"],
    "label smoothing": [f"{RECIPE}.label_smoothing=0.2"],
    "Muon": [f"{RECIPE}.optimizer.name=muon"],
    "the airbench network": [
        f"{RECIPE}.network.name=airbench",
        f"+{RECIPE}.optimizer={{head_learning_rate: 0.67, bias_learning_rate: 0.053}}",
    ],
    "averaging over views of a test image": ["evaluate.test_time_augmentation=flip_translate"],
}


def settings(row: int, seed: int, epochs: int) -> list[str]:
    """Return what an experiment sets, in the words of `dvc exp run -S`."""
    ideas = [*LADDER.values()][: row + 1]
    return [f"seed={seed}", f"{RECIPE}.epochs={epochs}", *chain.from_iterable(ideas)]


def main() -> None:
    epochs = int(sys.argv[1]) if sys.argv[1:] else EPOCHS
    name = "ladder-{}-seed-{}".format
    for seed, row in product(SEEDS, range(len(LADDER))):
        run_experiment(name(row, seed), settings(row, seed, epochs))

    results = pd.DataFrame(dvc.api.exp_show()).set_index("Experiment")
    print("\n| idea, added to the row above | validation accuracy | test accuracy |\n|---|---|---|")
    for row, idea in enumerate(LADDER):
        names = [name(row, seed) for seed in SEEDS]
        cells = [idea]
        for column in ("val_accuracy", "accuracy"):
            values = 100 * results.loc[names, column].astype(float)
            cells.append(f"{values.mean():.2f} % ({values.min():.2f} to {values.max():.2f})")
        print("|", " | ".join(cells), "|")


if __name__ == "__main__":
    main()
