"""oneDNN's 3 x 3 convolution, with another gradient for the kernel where that is slow."""

from collections.abc import Callable

import tensorflow as tf

KERNEL = 3
# Up to this side of the images, height or width in pixels, nine matrix products are faster than
# oneDNN's gradient in bfloat16, which halves their time only where images are large.
SMALL = 7

Gradients = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


@tf.custom_gradient
def convolution(images: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Gradients]:
    """Convolve (n, height, width, channels) by (3, 3, channels, filters), zero padded."""

    def gradients(outputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        settings = {"out_backprop": outputs, "strides": [1, 1, 1, 1], "padding": "SAME"}
        of_images = tf.raw_ops.Conv2DBackpropInput(
            input_sizes=tf.shape(images), filter=kernel, **settings
        )
        if max(images.shape[1:3]) <= SMALL:
            return of_images, products(images, outputs)
        return of_images, tf.raw_ops.Conv2DBackpropFilter(
            input=images, filter_sizes=tf.shape(kernel), **settings
        )

    return tf.nn.conv2d(images, kernel, 1, "SAME"), gradients


def products(images: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
    """Return the gradient for the kernel: for each of its nine weights' places a matrix product.

    Args:
        images: (n, height, width, channels).
        gradient: for the convolution's outputs, (n, height, width, filters).

    Returns:
        (3, 3, channels, filters).
    """
    _, height, width, channels = images.shape
    filters = gradient.shape[-1]
    padded = tf.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    columns = tf.reshape(gradient, (-1, filters))
    of_places = [
        tf.matmul(
            tf.reshape(padded[:, row : row + height, column : column + width], (-1, channels)),
            columns,
            transpose_a=True,
        )
        for row in range(KERNEL)
        for column in range(KERNEL)
    ]
    return tf.reshape(tf.stack(of_places), (KERNEL, KERNEL, channels, filters))
