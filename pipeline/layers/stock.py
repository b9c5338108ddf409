"""Networks as any Keras loads them."""

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
