"""Muon for convolutions, Nesterov SGD for everything else, in one Keras optimizer.

Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024,
https://kellerjordan.github.io/posts/muon/. Keras's own Muon takes only two-dimensional variables
and knows no rates by variable.
"""

from typing import Any

import keras
import tensorflow as tf
from keras.optimizers.schedules import LearningRateSchedule

# Coefficients of the quintic iteration, from the page above.
QUINTIC = (3.4445, -4.7750, 2.0315)


def orthogonalized(matrix: tf.Tensor, steps: int, dtype: str = "float32") -> tf.Tensor:
    """Move the singular values of a matrix near to 1 by Newton-Schulz iterations.

    Args:
        matrix: float32.
        steps: number of iterations.
        dtype: of their products, float32 or bfloat16, which the page above uses.

    Returns:
        A matrix of the same shape, float32.
    """
    a, b, c = QUINTIC
    tall = matrix.shape[0] > matrix.shape[1]
    x = tf.transpose(matrix) if tall else matrix
    x = tf.cast(x / (tf.norm(x) + 1e-7), dtype)
    for _ in range(steps):
        gram = tf.matmul(x, x, transpose_b=True)
        x = a * x + tf.matmul(b * gram + c * tf.matmul(gram, gram), x)
    x = tf.cast(x, tf.float32)
    return tf.transpose(x) if tall else x


class Muon(keras.optimizers.Optimizer):
    """Takes a step of Nesterov SGD for each variable that has a rate of its own.

    All others are kernels, (height, width, in, filters) or (in, filters): each is scaled to the
    norm sqrt(filters) and takes a step of Muon. Products are of Keras's present dtype policy.
    """

    def __init__(
        self,
        learning_rate: LearningRateSchedule,
        momentum: float,
        newton_schulz_steps: int,
        sgd_schedules: dict[str, tuple[LearningRateSchedule, float]],
        sgd_momentum: float,
        sgd_weight_decay: float,
        **settings: Any,
    ):
        """Name the rates.

        Args:
            learning_rate: of Muon.
            momentum: of Muon, Nesterov's form.
            newton_schulz_steps: iterations of the orthogonalization.
            sgd_schedules: of each variable that SGD updates, by its path, with the peak rate.
            sgd_momentum: of SGD, Nesterov's form.
            sgd_weight_decay: share of a variable added to its step's velocity while the rate is
                at its peak; it falls with the rate.
            **settings: of every Keras optimizer.
        """
        super().__init__(learning_rate=learning_rate, **settings)
        self.compute_dtype = keras.config.dtype_policy().compute_dtype
        self.momentum = momentum
        self.newton_schulz_steps = newton_schulz_steps
        self.sgd_schedules = sgd_schedules
        self.sgd_momentum = sgd_momentum
        self.sgd_weight_decay = sgd_weight_decay

    def build(self, variables: list[keras.Variable]) -> None:
        """Make a velocity for each variable, and note the schedule of those that SGD updates."""
        if self.built:
            return
        super().build(variables)
        self.velocities = self.add_optimizer_variables(variables, "velocity")
        self.schedules = [self.sgd_schedules.get(variable.path) for variable in variables]

    def update_step(
        self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor
    ) -> None:
        """Take one step of one variable."""
        index = self._get_variable_index(variable)
        velocity, schedule = self.velocities[index], self.schedules[index]
        if schedule is None:
            self._muon_step(gradient, variable, velocity, learning_rate)
        else:
            self._sgd_step(gradient, variable, velocity, *schedule)

    def _muon_step(
        self,
        gradient: tf.Tensor,
        variable: tf.Variable,
        velocity: keras.Variable,
        learning_rate: tf.Tensor,
    ) -> None:
        velocity.assign(self.momentum * velocity + gradient)
        filters = variable.shape[-1]
        matrix = tf.reshape(gradient + self.momentum * velocity, (-1, filters))
        update = orthogonalized(matrix, self.newton_schulz_steps, self.compute_dtype)
        update = tf.reshape(update, variable.shape)
        scale = filters**0.5 / tf.norm(variable)
        variable.assign(scale * variable - learning_rate * update)

    def _sgd_step(
        self,
        gradient: tf.Tensor,
        variable: tf.Variable,
        velocity: keras.Variable,
        schedule: LearningRateSchedule,
        peak: float,
    ) -> None:
        decay = self.sgd_weight_decay / peak
        gradient = gradient + decay * variable
        velocity.assign(self.sgd_momentum * velocity + gradient)
        step = gradient + self.sgd_momentum * velocity
        variable.assign_sub(schedule(self.iterations) * step)
