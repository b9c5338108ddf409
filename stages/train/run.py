"""One training, from the checked parameters to the files that it leaves."""

import json
import time
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from stages import device  # Before TensorFlow, which reads what it sets.
from stages.errors import TrainingError
from stages.files import replace
from stages.models.stock_layers import with_stock_layers
from stages.params import Device, Devices, Precision
from stages.train import cluster
from stages.train.checkpoint import Checkpoint
from stages.train.environment import environment
from stages.train.fingerprint import fingerprint
from stages.train.history import Row, best
from stages.train.loop import train
from stages.train.params import Recipe
from stages.train.recipes import assemble
from stages.train.saving import save_model
from stages.train.temperature import scale

import keras  # isort: skip
import tensorflow as tf  # isort: skip

MODEL = Path("models/model.keras")
METRICS = Path("metrics/train.json")
HISTORY = Path("plots/history.csv")
Split = tuple[np.ndarray, np.ndarray]
enough_memory = partial(
    device.enough_memory, "the selected recipe", "a smaller network or batch_size"
)
# In the history, in metrics/train.json, the most important first. DVC shows a name that no other
# file has without the file's.
RESULTS = {
    "val_accuracy": "val_accuracy",
    "accuracy": "train_accuracy",
    "val_loss": "val_loss",
    "loss": "train_loss",
}


def write_history(rows: list[Row], name: str) -> None:
    """Replace the history by one that ends with the newest epoch, to be watched meanwhile.

    The recipe's name is a column of it, from which DVC's page of plots has it.
    """
    table = pd.DataFrame(rows).assign(recipe=name).to_csv(index=False, float_format="%.6g")
    replace(HISTORY, table.encode())


def rounded(results: dict[str, float]) -> dict[str, float]:
    """Return results with six significant digits."""
    return {name: float(f"{value:.6g}") for name, value in results.items()}


def run(
    name: str,
    recipe: Recipe,
    seed: int,
    wanted: Device,
    training_data: Split,
    validation_data: Split,
    precision: Precision = "auto",
    devices: Devices = None,
) -> None:
    """Train, from a checkpoint where there is one, and write model, metrics and history.

    Args:
        name: of the recipe.
        recipe: what to train and how.
        seed: of every random stream.
        wanted: the device.
        training_data: images, float32 (n, 32, 32, 3) in [0, 1], and labels, uint8 (n,).
        validation_data: the same of images that are only looked at; n may be 0.
        precision: how the network computes.
        devices: how many GPUs train together.

    Raises:
        InputError: the device that is wanted is not there, or has too little memory; or another
            machine trains something else.
        TrainingError: the loss or an answer is not finite, a newer training takes its place, or
            another machine that trains together with this one is gone.
    """
    places = device.select(wanted, precision, devices)
    # First, since TensorFlow connects with other machines before it does anything else.
    strategy = cluster.strategy_on(places)
    facts = environment(device.named(places[0]))
    common = fingerprint([seed, recipe.model_dump()], *training_data, *validation_data)
    # With another number of devices, sums round differently; but machines may come and go.
    checkpoint = Checkpoint(fingerprint([common, facts, len(places)]))
    keras.utils.set_random_seed(seed)
    on_gpu = places[0].device_type == "GPU"
    start = time.monotonic()
    with enough_memory(), cluster.all_there(), strategy.scope():
        is_chief = cluster.is_chief()
        cluster.refuse_other_work(common)
        if is_chief:
            checkpoint.claim()
        training = assemble(recipe, *training_data, seed, on_cpu=not on_gpu)
        rows = checkpoint.restore(training) if is_chief else []
        rows = cluster.of_chief(rows, training.state)
        if rows and is_chief:
            write_history(rows, name)
        for row in train(training, *validation_data, rows, on_gpu):
            rows.append(row)
            if is_chief:
                checkpoint.save(training, rows)
                write_history(rows, name)
        # The loss of a batch is measured before its step, so of the last step nothing is known yet.
        answers = training.kept(training_data[0][:100], training=False)
    print(f"trained for {time.monotonic() - start:.0f} s")
    if not is_chief:
        return
    if not np.isfinite(answers).all():
        raise TrainingError("the trained model's answers are not finite; try a lower learning_rate")

    model = with_stock_layers(training.kept)
    scaling = {}
    if recipe.temperature_scaling and len(validation_data[0]):
        with enough_memory():
            scaling = scale(model, *validation_data)
    save_model(model, MODEL)
    row = best(rows) if recipe.keep == "best" else rows[-1]
    results = {long: row[short] for short, long in RESULTS.items() if short in row}
    sizes = {
        "images": len(training_data[0]),
        "parameters": model.count_params(),
        "trainable_parameters": sum(int(tf.size(v)) for v in training.model.trainable_variables),
    }
    metrics = rounded(results) | {"epochs": row["epoch"]} | rounded(scaling)
    # In lists, so that DVC does not take these for ten metrics; no times, which differ in each run.
    text = json.dumps(metrics | {"sizes": [sizes], "environment": [facts]}, indent=2) + "\n"
    replace(METRICS, text.encode())
    checkpoint.remove()
