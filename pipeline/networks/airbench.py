"""The networks of airbench: a frozen whitening layer, three convolution blocks, a linear head.

Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", arXiv 2404.00498.
"""

import numpy as np

from pipeline.common.config import Airbench
from pipeline.layers.batch_normalization import FusedBatchNormalization
from pipeline.layers.convolution import FastConv2D
from pipeline.layers.gelu import CompiledGelu
from pipeline.layers.max_pooling import CompiledMaxPooling2D

import keras
from keras import layers


def build(
    params: Airbench, images: np.ndarray, classes: int, generator: np.random.Generator, on_cpu: bool
) -> keras.Model:
    """Return the network, whose first layer whitens the patches of some training images.

    With three convolutions a block, as in airbench96, a shortcut leads from the first activation to
    just before the last one. `pipeline.networks.build` says what the arguments are.
    """
    convolution_layer = FastConv2D if on_cpu else layers.Conv2D
    pooling_layer = layers.MaxPooling2D if on_cpu else CompiledMaxPooling2D
    activation_layer = CompiledGelu if on_cpu else layers.Activation
    sample = np.asarray(images[: params.whitening_images])
    mean = sample.mean((0, 1, 2), dtype=np.float64)
    variance = sample.var((0, 1, 2), dtype=np.float64)
    kernel = whitening_kernel((sample - mean) / np.sqrt(variance), params.whitening_epsilon)
    # It amplifies small differences of neighbouring pixels, which bfloat16 would round away.
    whitening = layers.Conv2D(kernel.shape[-1], 2, name="whitening", dtype="float32")

    def normalized(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        return FusedBatchNormalization(
            momentum=params.batch_norm_momentum,
            epsilon=params.batch_norm_epsilon,
            scale=False,
            name=name,
        )(x)

    # Of any size, so that the same network takes smaller images first.
    inputs = keras.Input((None, None, 3), name="images")
    moments = {"mean": mean.tolist(), "variance": variance.tolist()}
    x = layers.Normalization(**moments, dtype="float32")(inputs)
    x = activation_layer("gelu")(whitening(x))
    convolutions = []
    shortcut = x
    for block, width in enumerate(params.widths, start=1):
        for letter in "abc"[: params.block_depth]:
            name = f"block{block}{letter}"
            convolution = convolution_layer(width, 3, padding="same", use_bias=False, name=name)
            convolutions.append(convolution)
            x = convolution(x)
            if letter == "a":
                x = pooling_layer(2)(x)
            x = normalized(x, f"{name}_normalization")
            if letter == "c":
                x = layers.Add()([x, shortcut])
            x = activation_layer("gelu")(x)
            if letter == "a":
                shortcut = x
    x = layers.GlobalMaxPooling2D()(x)
    x = layers.Rescaling(1 / params.widths[-1])(x)
    head = layers.Dense(classes, use_bias=False, name="logits", dtype="float32")
    probabilities = layers.Softmax(name="probabilities", dtype="float32")(head(x))
    model = keras.Model(inputs, probabilities, name="airbench")

    whitening.kernel.assign(kernel)
    whitening.kernel.trainable = False
    for convolution in convolutions:
        convolution.kernel.assign(partial_identity(convolution.kernel.shape, generator))
    weights = generator.uniform(-1, 1, head.kernel.shape)
    head.kernel.assign(weights / weights.std())
    return model


def whitening_kernel(images: np.ndarray, epsilon: float) -> np.ndarray:
    """Return filters that decorrelate 2 x 2 patches, and their negatives: (2, 2, 3, 24).

    Args:
        images: float (n, height, width, 3), zero mean.
        epsilon: added to the variances of the components.
    """
    windows = np.lib.stride_tricks.sliding_window_view(images, (2, 2), axis=(1, 2))
    patches = windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, 12)
    variances, components = np.linalg.eigh(patches.T @ patches / len(patches))
    filters = (components / np.sqrt(variances + epsilon)).reshape(2, 2, 3, 12)
    return np.concatenate([filters, -filters], axis=-1)


def partial_identity(shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """Return a kernel (height, width, in, out) whose first `in` filters pass their channel on.

    The remaining filters are uniform, as PyTorch initializes convolutions.
    """
    height, width, inputs, outputs = shape
    bound = 1 / np.sqrt(height * width * inputs)
    kernel = generator.uniform(-bound, bound, shape)
    passed = min(inputs, outputs)
    kernel[..., :passed] = 0
    kernel[height // 2, width // 2, range(passed), range(passed)] = 1
    return kernel
