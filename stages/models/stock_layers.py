"""Networks as any Keras loads them."""

import keras

from stages.models.compiled_gelu import CompiledGelu
from stages.models.fused_batch_normalization import FusedBatchNormalization
from stages.models.winograd import WinogradConv2D

STOCK = {
    CompiledGelu: keras.layers.Activation,
    FusedBatchNormalization: keras.layers.BatchNormalization,
    WinogradConv2D: keras.layers.Conv2D,
}


def with_stock_layers(model: keras.Model) -> keras.Model:
    """Return the same network, weights included, with Keras's own layers only."""

    def stock(layer: keras.layers.Layer) -> keras.layers.Layer:
        return STOCK.get(type(layer), type(layer)).from_config(layer.get_config())

    copy = keras.models.clone_model(model, clone_function=stock)
    copy.set_weights(model.get_weights())
    return copy
