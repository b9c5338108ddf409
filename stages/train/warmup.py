"""A learning rate that rises in equal steps before it follows another schedule."""

import keras
import tensorflow as tf


class Warmup(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up: Goyal et al., arXiv 1706.02677, section 2.2. Keras has it for cosine only."""

    def __init__(
        self, after: keras.optimizers.schedules.LearningRateSchedule, peak: float, steps: int
    ):
        """Rise to `peak` within `steps` steps, then follow `after` from its start."""
        self.after = after
        self.peak = peak
        self.steps = steps

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """Return the rate of a step, counted from 0; the first one is peak / steps."""
        rising = self.peak * tf.cast(step + 1, tf.float32) / self.steps
        return tf.where(step < self.steps, rising, self.after(tf.maximum(step - self.steps, 0)))
