"""Networks as any Keras loads them."""

import keras

from stages.models.compiled_gelu import CompiledGelu
from stages.models.compiled_max_pooling import CompiledMaxPooling2D
from stages.models.fast_convolution import FastConv2D
from stages.models.fused_batch_normalization import FusedBatchNormalization

STOCK = {
    CompiledGelu: keras.layers.Activation,
    CompiledMaxPooling2D: keras.layers.MaxPooling2D,
    FastConv2D: keras.layers.Conv2D,
    FusedBatchNormalization: keras.layers.BatchNormalization,
}


def with_stock_layers(model: keras.Model) -> keras.Model:
    """Return the same network, weights included, with Keras's own layers only, in float32."""

    def stock(layer: keras.layers.Layer) -> keras.layers.Layer:
        kind = STOCK.get(type(layer), type(layer))
        config = layer.get_config() | {"dtype": "float32"}
        if "synchronized" in config:
            config["synchronized"] = False
        return kind.from_config(config)

    copy = keras.models.clone_model(model, clone_function=stock)
    copy.set_weights(model.get_weights())
    return copy
