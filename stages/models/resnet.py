"""The residual network for CIFAR-10: He et al., arXiv 1512.03385, section 4.2."""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import AfterValidator, Field

from stages.models.network import Network, fewer
from stages.params import Count

if TYPE_CHECKING:
    import keras

# Keras goes through a network by recursion, which ends at a thousand layers of all kinds.
MOST_LAYERS = 200


def six_n_plus_two(depth: int) -> int:
    """Return the depth; raise a ValueError where three equal groups of pairs do not make it."""
    if depth % 6 != 2:
        raise ValueError("allowed are 6 n + 2, for example 8, 14, 20, 32, 44, 56 and 110")
    return depth


Depth = Annotated[
    int,
    Field(ge=8, le=MOST_LAYERS, json_schema_extra={"enum": list(range(8, MOST_LAYERS + 1, 6))}),
    AfterValidator(six_n_plus_two),
]


class ResNet(Network):
    name: Literal["resnet"]
    depth: Depth = 20
    width: Count = 16

    smallest_side: ClassVar[int] = 1

    def narrowed(self, width: float) -> Self:
        """Return the network with fewer filters, as deep as this one."""
        return self.model_copy(update={"width": fewer([self.width], width)[0]})

    def build(
        self, images: np.ndarray, generator: np.random.Generator, on_cpu: bool
    ) -> "keras.Model":
        """Return the network of `depth` weighted layers, 0.27 million parameters for 20.

        Shortcuts have no weights, the paper's option A: where a block halves the side and doubles
        the filters, they take every other pixel and fill up with zeros. The paper subtracts the
        mean of each pixel; here each channel is standardized.
        """
        import keras
        from keras import layers

        from stages.models.fused_batch_normalization import FusedBatchNormalization

        def convolved(x: keras.KerasTensor, filters: int, strides: int) -> keras.KerasTensor:
            # At an even side, "same" pads one end only, off the pixels that the shortcut takes.
            padding = "valid" if strides > 1 else "same"
            if strides > 1:
                x = layers.ZeroPadding2D(1)(x)
            kernel: dict[str, Any] = {"use_bias": False, "kernel_initializer": "he_normal"}
            x = layers.Conv2D(filters, 3, strides, padding, **kernel)(x)
            return FusedBatchNormalization()(x)

        def block(x: keras.KerasTensor, filters: int, strides: int) -> keras.KerasTensor:
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

        mean = images.mean((0, 1, 2), dtype=np.float64)
        variance = images.var((0, 1, 2), dtype=np.float64)
        inputs = keras.Input((32, 32, 3), name="images")
        moments = {"mean": mean.tolist(), "variance": variance.tolist()}
        x = layers.Normalization(**moments, dtype="float32")(inputs)
        x = layers.ReLU()(convolved(x, self.width, 1))
        for group in range(3):
            for index in range((self.depth - 2) // 6):
                x = block(x, self.width * 2**group, 2 if group and not index else 1)
        x = layers.GlobalAveragePooling2D()(x)
        x = layers.Dense(10, name="logits", dtype="float32")(x)
        probabilities = layers.Softmax(name="probabilities", dtype="float32")(x)
        return keras.Model(inputs, probabilities, name="resnet")
