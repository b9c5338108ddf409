"""oneDNN's 3 x 3 convolution, with another gradient for the kernel where that is slow."""

from collections.abc import Callable

import tensorflow as tf

# Up to this width of the images, in pixels, oneDNN's gradient for the kernel in bfloat16 is faster
# where several are side by side, since it takes the pixels of a row 32 at a time.
SMALL = 7
ROW = 32

Gradients = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


@tf.custom_gradient
def convolution(images: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Gradients]:
    """Convolve (n, height, width, channels) by (3, 3, channels, filters), zero padded."""

    def gradients(outputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        settings = {"out_backprop": outputs, "strides": [1, 1, 1, 1], "padding": "SAME"}
        of_images = tf.raw_ops.Conv2DBackpropInput(
            input_sizes=tf.shape(images), filter=kernel, **settings
        )
        rows = side_by_side if images.shape[2] <= SMALL else tf.identity
        settings["out_backprop"] = rows(outputs)
        return of_images, tf.raw_ops.Conv2DBackpropFilter(
            input=rows(images), filter_sizes=tf.shape(kernel), **settings
        )

    return tf.nn.conv2d(images, kernel, 1, "SAME"), gradients


def side_by_side(images: tf.Tensor) -> tf.Tensor:
    """Join several images to one that is about ROW pixels wide, a column of zeros after each.

    Args:
        images: (n, height, width, channels).

    Returns:
        (n / joined, height, joined * (width + 1), channels); images of zeros fill up the last one.
    """
    _, height, width, channels = images.shape
    joined = -(-ROW // (width + 1))
    missing = -tf.shape(images)[0] % joined
    x = tf.pad(images, ((0, missing), (0, 0), (0, 1), (0, 0)))
    x = tf.reshape(x, (-1, joined, height, width + 1, channels))
    x = tf.transpose(x, (0, 2, 1, 3, 4))
    return tf.reshape(x, (-1, height, joined * (width + 1), channels))
