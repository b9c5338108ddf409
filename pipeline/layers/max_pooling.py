"""Max-pooling that XLA can compile where results have to be the same each time."""

import keras
import tensorflow as tf


class CompiledMaxPooling2D(keras.layers.MaxPooling2D):
    """Keras's max-pooling of squares that do not overlap, by a reshape and a maximum.

    XLA has no deterministic gradient of TensorFlow's own ("GPU MaxPool gradient ops do not yet have
    a deterministic XLA implementation"). Where several pixels of a square are equally large, they
    share the gradient here, while TensorFlow's goes to the first.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Return the largest values of (n, height, width, channels)."""
        if self.strides != self.pool_size or self.padding != "valid":
            return super().call(inputs)
        rows, columns = self.pool_size
        _, height, width, channels = inputs.shape
        height, width = height // rows, width // columns
        whole = inputs[:, : height * rows, : width * columns]
        squares = tf.reshape(whole, (-1, height, rows, width, columns, channels))
        return tf.reduce_max(squares, (2, 4))
