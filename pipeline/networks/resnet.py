"""The residual network for CIFAR-10: He et al., arXiv 1512.03385, section 4.2."""

import numpy as np

from pipeline.common.config import ResNet
from pipeline.layers.batch_normalization import FusedBatchNormalization

import keras
from keras import layers


def build(
    params: ResNet, images: np.ndarray, classes: int, generator: np.random.Generator, on_cpu: bool
) -> keras.Model:
    """Return the network of `depth` weighted layers, 0.27 million parameters for 20.

    The paper subtracts the mean of each pixel; here each channel is standardized.
    `pipeline.networks.build` says what the arguments are; the last two change nothing here.
    """
    mean = images.mean((0, 1, 2), dtype=np.float64)
    variance = images.var((0, 1, 2), dtype=np.float64)
    # Of any size, so that the same network takes smaller images first.
    inputs = keras.Input((None, None, 3), name="images")
    moments = {"mean": mean.tolist(), "variance": variance.tolist()}
    x = layers.Normalization(**moments, dtype="float32")(inputs)
    x = layers.ReLU()(convolved(x, params.width, 1))
    for group in range(3):
        for index in range((params.depth - 2) // 6):
            x = block(x, params.width * 2**group, 2 if group and not index else 1)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dense(classes, name="logits", dtype="float32")(x)
    probabilities = layers.Softmax(name="probabilities", dtype="float32")(x)
    return keras.Model(inputs, probabilities, name="resnet")


def block(x: keras.KerasTensor, filters: int, strides: int) -> keras.KerasTensor:
    """Add two convolutions to their inputs.

    Shortcuts have no weights, the paper's option A: where a block halves the side and doubles the
    filters, they take every other pixel and fill up with zeros.
    """
    added = filters - x.shape[-1]
    y = layers.ReLU()(convolved(x, filters, strides))
    y = convolved(y, filters, 1)
    if strides > 1:
        x = layers.AveragePooling2D(1, strides)(x)
        # Read as channels first, so that channels are padded.
        x = layers.ZeroPadding2D(
            ((0, 0), (added // 2, added - added // 2)), data_format="channels_first"
        )(x)
    return layers.ReLU()(layers.Add()([x, y]))


def convolved(x: keras.KerasTensor, filters: int, strides: int) -> keras.KerasTensor:
    """Convolve and normalize."""
    padding = "same"
    if strides > 1:
        # At an even side, "same" pads one end only, off the pixels that the shortcut takes.
        padding = "valid"
        x = layers.ZeroPadding2D(1)(x)
    convolution = layers.Conv2D(
        filters, 3, strides, padding, use_bias=False, kernel_initializer="he_normal"
    )
    return FusedBatchNormalization()(convolution(x))
