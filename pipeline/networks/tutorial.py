"""The network of the 2018 Keras tutorial, to the letter by default, and what it may become."""

import numpy as np

from pipeline.common.config import Tutorial
from pipeline.common.shell import UserError
from pipeline.layers.max_pooling import CompiledMaxPooling2D

import keras
from keras import layers


def build(
    params: Tutorial, images: np.ndarray, classes: int, generator: np.random.Generator, on_cpu: bool
) -> keras.Model:
    """Return the network; for CIFAR-10 it has, by default, the tutorial's 2,180,746 parameters.

    Its dense layer takes images of one size. The activation stands on both sides of the last batch
    normalization in the tutorial too. `pipeline.networks.build` says what the arguments are; the
    generator draws nothing here.
    """
    side = images.shape[1]
    if side < 2 ** len(params.pool_after):
        raise UserError(
            f"params.yaml: network.pool_after = {params.pool_after}: leaves nothing of images of "
            f"{side} x {side} pixels; allowed are {side.bit_length() - 1} numbers"
        )
    pooling_layer = layers.MaxPooling2D if on_cpu else CompiledMaxPooling2D
    network = keras.Sequential([keras.Input(images.shape[1:])], name="tutorial")
    for index, filters in enumerate(params.filters):
        name = f"Conv2D{index:02}" if index else "input_Layer"
        network.add(
            layers.Conv2D(
                filters, params.kernel_size, padding="same", activation=params.activation, name=name
            )
        )
        if params.batch_norm:
            network.add(layers.BatchNormalization(name=f"Batch_norm{index:02}", dtype="float32"))
        if index + 1 in params.pool_after:
            network.add(pooling_layer(2))
        network.add(layers.Dropout(params.dropout, name=f"Drop{index:02}"))
    last = f"{len(params.filters):02}"
    network.add(layers.Flatten(name="Flatten00"))
    network.add(
        layers.Dense(
            params.dense_units, activation=params.activation, use_bias=False, name="Dense00"
        )
    )
    if params.batch_norm:
        network.add(layers.BatchNormalization(name=f"Batch_norm{last}", dtype="float32"))
    # The tutorial's own layer, which is stored under another name than Activation("relu").
    is_relu = params.activation == "relu"
    network.add(layers.ReLU() if is_relu else layers.Activation(params.activation))
    network.add(layers.Dropout(params.dense_dropout, name=f"DropOut{last}"))
    network.add(layers.Dense(classes, activation="softmax", name="Dense01", dtype="float32"))
    return network
