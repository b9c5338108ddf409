"""What a user tries first: one idea, one or two `-S` of `dvc exp run`."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from dvc.utils.hydra import apply_overrides

from tests.project import ROOT, Stage, succeed

IMAGES = {"train": 64, "validation": 20}
EPOCHS = 3
KEY = "recipes.tutorial"
# Of the tutorial's network with few filters and units: kernels, biases and normalizations.
FEW = [f"{KEY}.network.filters=[8, 8, 8]", f"{KEY}.network.dense_units=16"]
PARAMETERS = 224 + 2 * 584 + 3 * 32 + 8 * 8 * 8 * 16 + 64 + 170
TINY_AIRBENCH = [
    f"recipes.airbench_small.{setting}"
    for setting in (
        *("network.widths=[4, 32, 32]", "network.whitening_images=50"),
        # One phase, since each is compiled.
        *("network.whitening_epochs=3", "augmentation.low_resolution_share=0"),
    )
]

# metrics/train.json, and the columns of plots/history.csv.
Results = tuple[dict[str, Any], dict[str, list[float]]]
Check = Callable[[Results, Results], bool]


def differs(found: Results, tutorial: Results) -> bool:
    """Say whether the training went another way than the tutorial's."""
    return found[1]["loss"] != tutorial[1]["loss"]


def parameters(number: int) -> Check:
    """Return the check that the network has so many parameters."""
    return lambda found, tutorial: found[0]["sizes"][0]["parameters"] == number


def rates(*expected: float) -> Check:
    """Return the check of the learning rates with which the epochs began."""
    return lambda found, tutorial: np.allclose(found[1]["learning_rate"], expected, rtol=1e-5)


def stopped(found: Results, tutorial: Results) -> bool:
    """Say whether the training ended with the first epoch that was no better, or the last one."""
    accuracies = tutorial[1]["val_accuracy"]
    worse = [epoch for epoch in range(1, EPOCHS) if accuracies[epoch] <= max(accuracies[:epoch])]
    return found[0]["epochs"] == min([*(epoch + 1 for epoch in worse), EPOCHS])


def kept_the_best(found: Results, tutorial: Results) -> bool:
    """Say whether the results are those of the best epoch."""
    metrics, history = found
    best = int(np.argmax(history["val_accuracy"]))
    return (metrics["epochs"], metrics["val_accuracy"]) == (
        best + 1,
        history["val_accuracy"][best],
    )


def averaged(found: Results, tutorial: Results) -> bool:
    """Say whether only what validation sees has changed."""
    return (
        found[1]["loss"] == tutorial[1]["loss"] and found[1]["val_loss"] != tutorial[1]["val_loss"]
    )


IDEAS: dict[str, tuple[list[str], Check]] = {
    "Adam": ([f"{KEY}.optimizer.name=adam"], differs),
    "Nesterov's SGD with a cosine": (
        [
            f"+{KEY}.optimizer={{name: sgd, learning_rate: 0.02, momentum: 0.9, nesterov: true}}",
            f"{KEY}.schedule.name=cosine",
        ],
        rates(0.02, 0.015, 0.005),
    ),
    "AdamW with a warm-up": (
        [f"{KEY}.optimizer.name=adamw", f"{KEY}.schedule.warmup_epochs=1"],
        rates(0.001 / 2, 0.001, 0.001),
    ),
    "flips, translation, cutout": (
        [f"{KEY}.augmentation={{flip: random, translation: 4, cutout: 8}}"],
        differs,
    ),
    "noise and JPEG": ([f"{KEY}.augmentation={{noise: 0.03, jpeg: 0.25}}"], differs),
    "temperature scaling of the best epoch": (
        [f"{KEY}.temperature_scaling=true", f"{KEY}.keep=best"],
        lambda found, tutorial: (
            found[1] == tutorial[1]
            and found[0]["temperature"] != 1
            and kept_the_best(found, tutorial)
        ),
    ),
    "one more convolution, all wider": (
        [f"{KEY}.network.filters=[16, 16, 16, 16]"],
        parameters(448 + 3 * 2320 + 4 * 64 + 8 * 8 * 16 * 16 + 64 + 170),
    ),
    "kernels of 5 x 5, without batch normalization": (
        [f"{KEY}.network.kernel_size=5", f"{KEY}.network.batch_norm=false"],
        parameters(PARAMETERS + 16 * (3 + 8 + 8) * 8 - 3 * 4 * 8 - 4 * 16),
    ),
    "another activation": ([f"{KEY}.network.activation=elu"], differs),
    "batches of 64": ([f"{KEY}.batch_size=64"], differs),
    "label smoothing": ([f"{KEY}.label_smoothing=0.1"], differs),
    "stop early": ([f"{KEY}.patience=1"], stopped),
    "average the weights": ([f"{KEY}.ema_momentum=0.99"], averaged),
    "the hardest half of each batch": ([f"{KEY}.hardest_share=0.5"], differs),
    "Muon for the tutorial's network": ([f"{KEY}.optimizer.name=muon"], differs),
    "Adam for the airbench network": (
        ["recipe=airbench_small", "recipes.airbench_small.optimizer.name=adam", *TINY_AIRBENCH],
        rates(0.001, 0.001 * 2 / 3, 0.001 / 3),
    ),
    "ResNet-20 with Muon": (
        [f"{KEY}.network.name=resnet", f"{KEY}.optimizer.name=muon"],
        parameters(269_722 + 2 * 688),
    ),
}


def prepare(folder: Path, arrays: Path) -> None:
    """Make a folder in which a few steps of a narrow tutorial can be trained."""
    for split, count in IMAGES.items():
        target = folder / "data/processed" / split
        target.mkdir(parents=True)
        for part in ("images.npy", "labels.npy"):
            array = np.load(arrays / "data/processed" / split / part, allow_pickle=False)
            np.save(target / part, array[:count], allow_pickle=False)
    shutil.copy(ROOT / "params.yaml", folder)
    short = [f"{recipe}.epochs={EPOCHS}" for recipe in (KEY, "recipes.airbench_small")]
    apply_overrides(folder / "params.yaml", ["recipe=tutorial", *short, *FEW])


def results(folder: Path) -> Results:
    history: Any = pd.read_csv(folder / "plots/history.csv").to_dict("list")
    return json.loads((folder / "metrics/train.json").read_text()), history


@pytest.fixture(scope="session")
def tutorial(arrays: Path, once: Callable[[str, Callable[[Path], None]], Path]) -> Results:
    """Return what the tutorial gives without any idea."""

    def make(folder: Path) -> None:
        prepare(folder, arrays)
        succeed("train", folder)

    return results(once("tutorial", make))


@pytest.mark.parametrize("idea", IDEAS)
def test_idea(
    arrays: Path, call_stage: Stage, tmp_path: Path, tutorial: Results, idea: str
) -> None:
    settings, check = IDEAS[idea]
    prepare(tmp_path, arrays)
    # As `dvc exp run -S` does it.
    apply_overrides(tmp_path / "params.yaml", settings)
    run = call_stage("train", tmp_path)
    assert run.returncode == 0, run.stderr
    found = results(tmp_path)
    assert check(found, tutorial)
    # Not merely finite.
    assert max(found[1]["loss"]) < 10
