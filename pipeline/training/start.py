"""Begins a training with the weights of another model, as far as they fit."""

import hashlib
from pathlib import Path

from pipeline.common.shell import UserError, one_line

import keras


def digest_of(path: Path | None) -> str:
    """Return the SHA-256 of the model's file, by which a checkpoint knows its beginning.

    Raises:
        UserError: it cannot be read.
    """
    if path is None:
        return ""
    if not path.is_file():
        raise UserError(f"params.yaml: start_from = {one_line(path)}: no such file")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def take_weights(model: keras.Model, path: Path) -> None:
    """Take all weights of the model at `path` that have the name and the shape of one here.

    The name is that of the layer and of the weight in it, as block1a/kernel. One line says which
    weights of `model` stay as they are; with another number of classes, these are the head's.

    Raises:
        UserError: the file holds no Keras model, or nothing in it fits.
    """
    try:
        found = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        # Keras raises whatever its zip, JSON and HDF5 readers raise.
        where = f"params.yaml: start_from = {one_line(path)}"
        raise UserError(f"{where}: not a readable Keras model: {one_line(error)}") from None
    there = {name_of(weight): weight for weight in found.weights}
    own = {name_of(weight): weight for weight in model.weights}
    fitting = [name for name in own if name in there and there[name].shape == own[name].shape]
    if not fitting:
        raise UserError(
            f"params.yaml: start_from = {one_line(path)}: none of its weights has the name and the "
            f"shape of one here, such as {next(iter(own))}"
        )
    for name in fitting:
        own[name].assign(there[name])
    new = ", ".join(name for name in own if name not in fitting) or "none"
    print(f"{path}: {len(fitting)} of {len(own)} weights taken; new: {new}", flush=True)


def name_of(weight: keras.Variable) -> str:
    """Return the names of the layer and of the weight, without those of models around them."""
    return "/".join(weight.path.split("/")[-2:])
