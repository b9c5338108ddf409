"""Networks as any Keras loads them, with its own layers, and as a CPU computes them fastest."""

from contextlib import suppress

from pipeline.layers.batch_normalization import FusedBatchNormalization
from pipeline.layers.convolution import FastConv2D
from pipeline.layers.gelu import CompiledGelu
from pipeline.layers.max_pooling import CompiledMaxPooling2D

import keras

STOCK = {
    CompiledGelu: keras.layers.Activation,
    CompiledMaxPooling2D: keras.layers.MaxPooling2D,
    FastConv2D: keras.layers.Conv2D,
    FusedBatchNormalization: keras.layers.BatchNormalization,
}
# Keras's pooling is the faster one.
FAST = {stock: fast for fast, stock in STOCK.items() if fast is not CompiledMaxPooling2D}


def with_stock_layers(model: keras.Model, side: int) -> keras.Model:
    """Return a copy of a network, weights included, with Keras's own layers only, in float32.

    It takes images (n, side, side, 3), also where `model` takes such of any size.
    """

    def stock(layer: keras.layers.Layer) -> keras.layers.Layer:
        kind = STOCK.get(type(layer), type(layer))
        return kind.from_config(layer.get_config() | {"dtype": "float32"})

    images = keras.Input((side, side, 3), name=model.inputs[0].name)
    copy = keras.models.clone_model(model, images, clone_function=stock)
    copy.set_weights(model.get_weights())
    for variable, original in zip(copy.variables, model.variables, strict=True):
        variable.trainable = original.trainable
    return copy


def with_fast_layers(model: keras.Model) -> keras.Model:
    """Return a copy of a network, weights included, that a CPU computes in 0.7 of the time.

    A layer whose settings the fast one does not have stays Keras's. The results differ by rounding.
    """

    def fast(layer: keras.layers.Layer) -> keras.layers.Layer:
        kind = type(layer)
        if kind in FAST:
            # As a TypeError, Keras tells what a layer's own constructor refuses.
            with suppress(ValueError, TypeError):
                copy = FAST[kind].from_config(layer.get_config())
                copy.build(layer.input.shape)
                return copy
        return kind.from_config(layer.get_config())

    copy = keras.models.clone_model(model, clone_function=fast)
    copy.set_weights(model.get_weights())
    return copy
