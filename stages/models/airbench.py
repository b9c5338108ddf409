"""The network of airbench94: a frozen whitening layer, three convolution blocks, a linear head.

Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", arXiv 2404.00498.
"""

import keras
import numpy as np
from keras import layers

from stages.models.compiled_gelu import CompiledGelu
from stages.models.fused_batch_normalization import FusedBatchNormalization
from stages.models.winograd import WinogradConv2D


def build(
    widths: list[int],
    batch_norm_momentum: float,
    batch_norm_epsilon: float,
    whitening_images: np.ndarray,
    whitening_epsilon: float,
    generator: np.random.Generator,
    on_cpu: bool,
) -> keras.Model:
    """Return the network: images, float32 (n, 32, 32, 3) in [0, 1], to probabilities (n, 10).

    Args:
        widths: filters of each block; a block halves height and width.
        batch_norm_momentum: share of the moving statistics kept at each step.
        batch_norm_epsilon: added to variances.
        whitening_images: float32 (n, 32, 32, 3) in [0, 1], whose patches set the first layer.
        whitening_epsilon: added to the variances of the patches' components.
        generator: draws the initial weights.
        on_cpu: use the layers made for CPUs; the results are the same but for rounding.
    """
    convolution_layer = WinogradConv2D if on_cpu else layers.Conv2D
    activation_layer = CompiledGelu if on_cpu else layers.Activation
    mean = whitening_images.mean((0, 1, 2), dtype=np.float64)
    variance = whitening_images.var((0, 1, 2), dtype=np.float64)
    kernel = whitening_kernel((whitening_images - mean) / np.sqrt(variance), whitening_epsilon)
    whitening = layers.Conv2D(kernel.shape[-1], 2, name="whitening")

    def normalized(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        normalization = FusedBatchNormalization(
            momentum=batch_norm_momentum, epsilon=batch_norm_epsilon, scale=False, name=name
        )
        return activation_layer("gelu")(normalization(x))

    images = keras.Input((32, 32, 3), name="images")
    x = layers.Normalization(mean=mean.tolist(), variance=variance.tolist())(images)
    x = activation_layer("gelu")(whitening(x))
    convolutions = []
    for block, width in enumerate(widths, start=1):
        for half in "ab":
            name = f"block{block}{half}"
            convolution = convolution_layer(width, 3, padding="same", use_bias=False, name=name)
            convolutions.append(convolution)
            x = convolution(x)
            if half == "a":
                x = layers.MaxPooling2D(2)(x)
            x = normalized(x, f"{name}_normalization")
    x = layers.GlobalMaxPooling2D()(x)
    x = layers.Rescaling(1 / widths[-1])(x)
    head = layers.Dense(10, use_bias=False, name="logits")
    model = keras.Model(images, layers.Softmax(name="probabilities")(head(x)), name="airbench")

    whitening.kernel.assign(kernel)
    whitening.kernel.trainable = False
    for convolution in convolutions:
        convolution.kernel.assign(partial_identity(convolution.kernel.shape, generator))
    weights = generator.uniform(-1, 1, head.kernel.shape)
    head.kernel.assign(weights / weights.std())
    return model


def at_side(model: keras.Model, side: int) -> keras.Model:
    """Return the same network, its weights shared, for images (n, side, side, 3)."""
    x = images = keras.Input((side, side, 3))
    for layer in model.layers[1:]:
        x = layer(x)
    return keras.Model(images, x)


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
