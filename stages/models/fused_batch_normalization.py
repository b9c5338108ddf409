"""Keras's batch normalization on TensorFlow's fused kernel, nearly three times faster on a CPU."""

import keras
import tensorflow as tf


class FusedBatchNormalization(keras.layers.BatchNormalization):
    """Normalizes (n, height, width, channels) over all axes but the last.

    It has the weights and the configuration of its base class, so a trained network can be saved
    with the stock layer in its place (`stages.models.stock_layers`).
    """

    def call(
        self, inputs: tf.Tensor, training: bool | None = None, mask: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Normalize with the statistics of the batch while training, else with the moving ones."""
        if not training:
            return super().call(inputs, training=training, mask=mask)
        gamma = tf.ones_like(self.moving_mean) if self.gamma is None else self.gamma
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=gamma,
            offset=self.beta,
            mean=[],
            variance=[],
            epsilon=self.epsilon,
            is_training=True,
        )
        for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + batch * (1 - self.momentum))
        return outputs
