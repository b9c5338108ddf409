"""The 3 x 3 convolution on a CPU, in the fastest form for its precision and size.

| precision | weights of a pixel | outputs and gradient for the inputs | gradient for the kernel |
|---|---|---|---|
| float32 | fewer than FEWEST_WEIGHTS | oneDNN's direct convolution | oneDNN's |
| float32 | more | Winograd's | Winograd's |
| bfloat16 | any | oneDNN's direct convolution | oneDNN's, small images side by side |
"""

import keras
import tensorflow as tf

from stages.models import direct_convolution, winograd
from stages.processors import INSTRUCTION_SETS

# With fewer channels times filters, the transforms take longer than the products that they save.
# AVX-512, by NumPy's older or newer name, halves the products' time, not that of the transforms.
FEWEST_WEIGHTS = 5000 if {"AVX512F", "X86_V4"} & set(INSTRUCTION_SETS) else 1000
KERNEL = (3, 3)


class FastConv2D(keras.layers.Conv2D):
    """Keras's 3 x 3 convolution with zero padding, faster on a CPU.

    It has the weights and the configuration of its base class, so a trained network can be saved
    with the stock layer in its place (`stages.models.stock_layers`).
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the weights.

        Raises:
            ValueError: the kernel is not 3 x 3, or padding, strides, dilation or groups are others
                than "same", 1, 1 and 1.
        """
        ones = {self.strides, self.dilation_rate, (self.groups, 1)} == {(1, 1)}
        if self.kernel_size != KERNEL or self.padding != "same" or not ones:
            raise ValueError(f"{self.name}: only 3 x 3, padding same, strides 1, no groups")
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Convolve (n, height, width, channels) to (n, height, width, filters)."""
        if self.compute_dtype == "bfloat16":
            convolution = direct_convolution.convolution
        elif inputs.shape[-1] * self.filters >= FEWEST_WEIGHTS:
            convolution = winograd.convolution
        else:
            return super().call(inputs)
        outputs = convolution(inputs, tf.convert_to_tensor(self.kernel))
        if self.use_bias:
            outputs += self.bias
        return self.activation(outputs)
