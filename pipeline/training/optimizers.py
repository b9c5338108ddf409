"""The optimizers, Muon among them, and the learning rate over a training."""

from typing import Any

from pipeline.common import config
from pipeline.networks import frozen_after

import keras
import tensorflow as tf
from keras.optimizers.schedules import (
    CosineDecay,
    LearningRateSchedule,
    PiecewiseConstantDecay,
    PolynomialDecay,
)


def build_optimizer(
    recipe: config.Recipe, variables: list[keras.Variable], steps: int
) -> keras.Optimizer:
    """Return the recipe's optimizer, built, its learning rates following the recipe's schedule.

    Args:
        recipe: names the optimizer, the schedule, and how long each variable learns.
        variables: what will be trained.
        steps: of an epoch.
    """
    params = recipe.optimizer
    if isinstance(params, config.Muon):
        optimizer = build_muon(params, recipe, variables, steps)
    else:
        settings = params.model_dump(exclude={"name", "learning_rate"}, exclude_none=True)
        schedule = build_schedule(recipe.schedule, params.learning_rate, recipe.epochs, steps)
        optimizer = getattr(keras.optimizers, type(params).__name__)(schedule, **settings)
    optimizer.build(variables)
    return optimizer


def build_schedule(
    params: config.Schedule, peak: float, epochs: int, steps: int
) -> LearningRateSchedule:
    """Return the learning rate at each step, from `peak` on, after a linear warm-up to it.

    Args:
        params: which schedule.
        peak: the highest rate.
        epochs: after which the schedule has ended; it then keeps its last rate.
        steps: of an epoch.
    """
    warmup = params.warmup_epochs * steps
    left = max(1, epochs * steps - warmup)
    decay: LearningRateSchedule
    match params:
        case config.Constant():
            decay = PolynomialDecay(peak, left, peak)
        case config.Linear():
            decay = PolynomialDecay(peak, left, peak * params.final_fraction)
        case config.Cosine():
            # Half a period: Loshchilov & Hutter, arXiv 1608.03983, without restarts.
            decay = CosineDecay(peak, left, params.final_fraction)
        case config.Step():
            # Of the whole training. Keras changes the rate after the step of a boundary.
            boundaries = [round(m * (warmup + left)) - warmup - 1 for m in params.milestones]
            rates = [peak * params.factor**drops for drops in range(len(boundaries) + 1)]
            decay = PiecewiseConstantDecay(boundaries, rates)
    return Warmup(decay, peak, warmup) if warmup else decay


class Warmup(LearningRateSchedule):
    """Linear warm-up: Goyal et al., arXiv 1706.02677, section 2.2. Keras has it for cosine only."""

    def __init__(self, decay: LearningRateSchedule, peak: float, steps: int):
        """Rise to `peak` within `steps` steps, then follow `decay` from its start."""
        self.decay = decay
        self.peak = peak
        self.steps = steps

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """Return the rate of a step, counted from 0; the first one is peak / steps."""
        rising = self.peak * tf.cast(step + 1, tf.float32) / self.steps
        return tf.where(step < self.steps, rising, self.decay(tf.maximum(step - self.steps, 0)))


def build_muon(
    params: config.Muon, recipe: config.Recipe, variables: list[keras.Variable], steps: int
) -> "Muon":
    """Return Muon for kernels, SGD for biases and for the head, the last layer's kernel."""
    # SGD's rates are for the sum of a batch's losses, the loop's gradients for their mean.
    batch_size = recipe.hard_examples(recipe.batch_size)
    head = [variable.path for variable in variables if len(variable.shape) == 2][-1:]
    sgd = {}
    for variable in variables:
        if variable.path in head or len(variable.shape) < 2:
            rate = params.head_learning_rate if variable.path in head else params.bias_learning_rate
            peak = batch_size * rate
            epochs = frozen_after(recipe.network, variable.path)
            epochs = recipe.epochs if epochs is None else max(1, epochs)
            sgd[variable.path] = build_schedule(recipe.schedule, peak, epochs, steps), peak
    return Muon(
        build_schedule(recipe.schedule, params.kernel_learning_rate, recipe.epochs, steps),
        params.kernel_momentum,
        params.newton_schulz_steps,
        sgd,
        params.sgd_momentum,
        params.sgd_weight_decay * batch_size,
        global_clipnorm=params.global_clipnorm,
    )


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
