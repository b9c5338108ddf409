"""Trains the selected recipe, on the training images; the test images are never read.

The training step and its loop are written out instead of left to `fit`, so that one can read them.
"""

import io
import json
import math
import time
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from pipeline import networks
from pipeline.common import device
from pipeline.common.config import Recipe
from pipeline.common.params import name_unused_keys, read_params
from pipeline.common.paths import HISTORY, MODEL, NO_MODEL, TRAIN_METRICS
from pipeline.common.randomness import stream
from pipeline.common.shell import UserError, replacing, run_stage, write_atomically
from pipeline.data.arrays import Split, load, read_dataset
from pipeline.evaluation.metrics import rounded
from pipeline.layers.stock import with_stock_layers
from pipeline.training.augmentation import in_chunks, pick, plan_epoch, resized, with_jpeg_copies
from pipeline.training.averages import update_ema
from pipeline.training.checkpoint import Checkpoint, Row
from pipeline.training.hard_examples import Proxy
from pipeline.training.losses import build_loss
from pipeline.training.optimizers import build_optimizer
from pipeline.training.start import digest_of, take_weights
from pipeline.training.temperature import calibrate, head_of

import keras
import tensorflow as tf

VALIDATION_BATCH_SIZE = 500
# On a GPU a step is shorter than what Python does between two calls.
GPU_STEPS_PER_CALL = 10
BAR = "{desc}{percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
# Columns of the history, by their names in metrics/train.json, the most important first. DVC shows
# a name that no other file has without the file's.
METRICS = {"val_accuracy": "val_accuracy", "val_loss": "val_loss", "train_accuracy": "accuracy"}


def main() -> None:
    params = read_params()
    recipe = params.recipes[params.recipe]
    name_unused_keys(params.recipe)
    dataset, training, validation = read_dataset(), load("train"), load("validation")
    if not len(validation[0]) and (recipe.restore_best_weights or recipe.patience):
        key = "restore_best_weights" if recipe.restore_best_weights else "patience"
        raise UserError(
            f"params.yaml: recipes.{params.recipe}.{key}: needs validation images; "
            "preprocess.validation_split is too small"
        )

    spec = device.use(params.device, params.precision)
    provenance = device.provenance()
    start_from = None if Path(params.start_from) == NO_MODEL else Path(params.start_from)
    settings = [params.seed, recipe.model_dump(), provenance, digest_of(start_from)]
    checkpoint = Checkpoint(settings, *training, *validation)
    keras.utils.set_random_seed(params.seed)
    begin = time.monotonic()
    with (
        device.enough_memory("the selected recipe", "a smaller network or batch_size"),
        tf.device(spec.to_string()),
    ):
        on_gpu = spec.device_type == "GPU"
        classes = len(dataset.classes)
        for history, model in train(
            recipe, training, validation, classes, params.seed, on_gpu, checkpoint, start_from
        ):
            # The recipe's name is a column, from which DVC's page of plots has it.
            table = pd.DataFrame(history).assign(recipe=params.recipe)
            csv = table.to_csv(index=False, float_format="%.6g")
            write_atomically(HISTORY, csv.encode())
            # For `dvc exp show` and editors, which look at it while the training runs.
            write_metrics(results_of(history[-1]) | {"epochs_left": recipe.epochs - len(history)})
        # A batch's loss is measured before its step, so of the last step nothing is known yet.
        probabilities = model(training[0][:100], training=False)
        print(f"trained for {time.monotonic() - begin:.0f} s")
        if not np.isfinite(probabilities).all():
            raise UserError(
                "the trained model's probabilities are not finite; try a lower learning_rate", 1
            )
        trainable = sum(math.prod(v.shape) for v in model.trainable_variables)
        model = with_stock_layers(model, dataset.side)
        scaling = {}
        if recipe.temperature_scaling and len(validation[0]):
            scaling = {"temperature": calibrate(model, *validation)}

    save_model(model, dataset.classes)
    row = best(history) if recipe.restore_best_weights else history[-1]
    facts = {
        "epochs": row["epoch"],
        "train_loss": row["loss"],
        **scaling,
        "images": len(training[0]),
        "validation_images": len(validation[0]),
        "parameters": model.count_params(),
        "trainable_parameters": trainable,
    }
    # In lists, DVC does not take them for metrics. No times, which always differ.
    write_metrics(results_of(row) | {"training": [rounded(facts)], "environment": [provenance]})
    checkpoint.remove()


def train(
    recipe: Recipe,
    training: Split,
    validation: Split,
    classes: int,
    seed: int,
    on_gpu: bool,
    checkpoint: Checkpoint | None = None,
    start_from: Path | None = None,
) -> Iterator[tuple[list[Row], keras.Model]]:
    """Train, from a checkpoint where there is one.

    Args:
        recipe: what to train and how.
        training: images, float32 (n, side, side, 3) in [0, 1], and labels, uint8 (n,).
        validation: the same of images that are only looked at; n may be 0.
        classes: how many there are.
        seed: of every random stream.
        on_gpu: whether to compile steps by XLA, and take several of them at once.
        checkpoint: where the state is saved after each epoch.
        start_from: the file of a model, whose weights are taken where they fit.

    Yields:
        After each epoch, and after what a checkpoint has restored, the history and the model to
        keep. A row of the history has epoch (from 1), loss and accuracy over the epoch's batches
        as they were trained on, val_loss and val_accuracy where there are validation images, and
        the learning rate of the epoch's first step.

    Raises:
        UserError: the loss of an epoch is not finite, a newer training has taken over, or no weight
            of `start_from` fits.
    """
    images, labels = training
    side = images.shape[1]
    steps = math.ceil(len(labels) / recipe.batch_size)

    model = networks.build(
        recipe.network, images, classes, stream(seed, "weights"), on_cpu=not on_gpu
    )
    if start_from:
        take_weights(model, start_from)
    if recipe.temperature_scaling:
        # A network without logits to scale is refused now, not after the training.
        head_of(model)
    optimizer = build_optimizer(recipe, model.trainable_variables, steps)
    proxy = None
    if recipe.hard_example_fraction < 1:
        proxy = Proxy(recipe, images, classes, seed, steps, on_cpu=not on_gpu)
    # Copies, whose weights are assigned as the training goes on.
    ema_model = with_stock_layers(model, side) if recipe.ema_momentum else None
    best_model = with_stock_layers(model, side) if recipe.restore_best_weights else None
    eval_model = ema_model or model
    model_to_save = best_model or eval_model
    loss_of = build_loss(recipe, labels, classes)
    val_loss_of = keras.losses.CategoricalCrossentropy(label_smoothing=recipe.label_smoothing)
    one_hot = np.eye(classes, dtype=np.float32)

    def train_step(images: tf.Tensor, labels: tf.Tensor, frozen: tuple[str, ...]) -> tf.Tensor:
        batch_size = len(labels)
        if proxy:
            images, labels = proxy.train_on_hardest(images, labels, loss_of, frozen)
        variables = [v for v in model.trainable_variables if v.path not in frozen]
        with tf.GradientTape() as tape:
            probabilities = model(images, training=True)
            loss = loss_of(labels, probabilities)
        optimizer.apply(tape.gradient(loss, variables), variables)
        if ema_model:
            update_ema(ema_model, model, recipe.ema_momentum, optimizer.iterations)
        # The hard images stand for the whole batch in the epoch's mean.
        return sums(loss, labels, probabilities) * (batch_size / len(labels))

    def validation_step(images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        probabilities = eval_model(images, training=False)
        return sums(val_loss_of(labels, probabilities), labels, probabilities)

    if on_gpu:
        train_step = tf.function(train_step, jit_compile=True)
    validation_step = tf.function(validation_step, jit_compile=on_gpu)

    # Traced anew for each size of images and batches, and each set of frozen variables.
    @tf.function
    def train_steps(
        total: tf.Tensor,
        all_images: tf.Tensor,
        all_labels: tf.Tensor,
        plan: dict[str, tf.Tensor],
        frozen: tuple[str, ...],
    ) -> tf.Tensor:
        for number in tf.range(len(plan["index"])):
            batch = {name: rows[number] for name, rows in plan.items()}
            total += train_step(*pick(all_images, all_labels, batch), frozen)
        return total

    if recipe.augmentation.jpeg_fraction:
        images = with_jpeg_copies(images, seed)

    @cache
    def on_device(side: int) -> tuple[tf.Tensor, tf.Tensor]:
        # By itself, a tensor made of an array keeps a second copy of it.
        arrays = resized(images, side), one_hot[labels]
        return tuple(tf.identity(tf.convert_to_tensor(array)) for array in arrays)

    val_images, val_labels = validation[0], one_hot[validation[1]]

    state = [*model.variables, *optimizer.variables]
    state += [v for copy in (ema_model, best_model) if copy for v in copy.weights]
    state += proxy.variables if proxy else []
    history = checkpoint.restore(state) if checkpoint else []
    if history:
        yield history, model_to_save

    small_epochs = recipe.augmentation.small_image_epochs(recipe.epochs)
    sides = [
        min(recipe.augmentation.small_image_size, side) if epoch < small_epochs else side
        for epoch in range(recipe.epochs)
    ]
    # A step takes time in proportion to its pixels, so that small images do not promise too much.
    pixels = [steps * side**2 for side in sides]
    first_epoch, begin, done_before = len(history), time.monotonic(), sum(pixels[: len(history)])
    # disable=None: no bar where standard error is not a terminal.
    with tqdm(
        total=sum(pixels), initial=done_before, leave=False, disable=None, bar_format=BAR
    ) as bar:
        for epoch in range(first_epoch, recipe.epochs):
            # `epoch` epochs are finished here.
            if recipe.patience and history and epoch - best(history)["epoch"] >= recipe.patience:
                bar.clear()
                print(f"stopped: no better val_accuracy in {recipe.patience} epochs", flush=True)
                return
            start, learning_rate = time.monotonic(), float(optimizer.learning_rate)
            title = f"epoch {epoch + 1}/{recipe.epochs}"
            bar.set_description(title)
            frozen = tuple(
                variable.path
                for variable in model.trainable_variables
                if (end := networks.frozen_after(recipe.network, variable.path)) is not None
                and epoch >= end
            )
            plan = plan_epoch(
                recipe.augmentation, len(labels), sides[epoch], recipe.batch_size, seed, epoch
            )
            total = tf.zeros(2)
            for chunk in in_chunks(plan, recipe.batch_size, GPU_STEPS_PER_CALL if on_gpu else 1):
                total = train_steps(total, *on_device(sides[epoch]), chunk, frozen)
                bar.update(len(chunk["index"]) * sides[epoch] ** 2)
            loss, accuracy = (total / len(labels)).numpy().tolist()
            row = {"epoch": epoch + 1, "loss": loss, "accuracy": accuracy}
            seconds = time.monotonic() - start
            if len(val_labels):
                total = tf.zeros(2)
                for first in range(0, len(val_labels), VALIDATION_BATCH_SIZE):
                    batch = slice(first, first + VALIDATION_BATCH_SIZE)
                    total += validation_step(val_images[batch], val_labels[batch])
                loss, accuracy = (total / len(val_labels)).numpy().tolist()
                row |= {"val_loss": loss, "val_accuracy": accuracy}
            told = {name: f"{value:.4f}" for name, value in row.items()}
            told |= {"epoch": f"{epoch + 1}/{recipe.epochs}", "seconds": f"{seconds:.1f}"}
            left = sum(pixels[epoch + 1 :])
            seconds_a_pixel = (time.monotonic() - begin) / (sum(pixels) - left - done_before)
            told["left"] = tqdm.format_interval(left * seconds_a_pixel) if left else ""
            bar.clear()
            if epoch == first_epoch:
                print("  ".join(f"{name:>7}" for name in told))
            line = "  ".join(f"{text:>{max(7, len(name))}}" for name, text in told.items())
            print(line.rstrip(), flush=True)
            if not all(map(math.isfinite, row.values())):
                raise UserError(f"{title}: the loss is not finite; try a lower learning_rate", 1)
            history.append(row | {"learning_rate": learning_rate})
            if best_model and best(history) is history[-1]:
                best_model.set_weights(eval_model.get_weights())
            if checkpoint:
                checkpoint.save(state, history)
            yield history, model_to_save


def sums(loss: tf.Tensor, labels: tf.Tensor, probabilities: tf.Tensor) -> tf.Tensor:
    """Return the sum of a batch's losses, by their mean, and the number of right predictions."""
    right = tf.argmax(probabilities, -1) == tf.argmax(labels, -1)
    return tf.stack([loss * len(labels), tf.reduce_sum(tf.cast(right, tf.float32))])


def best(history: list[Row]) -> Row:
    """Return the row of the highest validation accuracy, the first one of several."""
    return max(history, key=lambda row: row["val_accuracy"])


def results_of(row: Row) -> dict[str, Any]:
    """Return what of a row of the history DVC compares, by its names in metrics/train.json."""
    return rounded({name: row[column] for name, column in METRICS.items() if column in row})


def write_metrics(metrics: dict[str, Any]) -> None:
    write_atomically(TRAIN_METRICS, (json.dumps(metrics, indent=2) + "\n").encode())


def save_model(model: keras.Model, classes: tuple[str, ...]) -> None:
    """Save as `keras.Model.save` does, with the names of the classes, without the time of saving.

    Keras records that twice. Without it the same model has the same bytes, and DVC skips evaluate.
    """
    with replacing(MODEL, 4 * model.count_params()) as unfinished:
        keras.saving.save_model(model, unfinished)
        recorded = io.BytesIO(unfinished.read_bytes())
        with zipfile.ZipFile(recorded) as source, zipfile.ZipFile(unfinished, "w") as target:
            for name in source.namelist():
                content = source.read(name)
                if name == "metadata.json":
                    metadata = json.loads(content)
                    del metadata["date_saved"]
                    content = json.dumps(metadata | {"classes": classes}).encode()
                # The earliest time that a zip archive can hold.
                target.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)


if __name__ == "__main__":
    run_stage(main, __doc__)
