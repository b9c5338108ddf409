"""The optimizers, Muon among them, and the learning rate over a training."""

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
        optimizer = Muon(recipe, params, steps)
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
    """Muon for kernels; SGD for biases and for the head, the last layer's kernel.

    Kernels are (height, width, in, filters) or (in, filters): each is scaled to the norm
    sqrt(filters) and takes a step of Muon. Both use Nesterov's form of momentum. Products are of
    Keras's present dtype policy.
    """

    def __init__(self, recipe: config.Recipe, params: config.Muon, steps: int):
        """Take what the learning rates follow from, as `build_optimizer` does."""
        rate = build_schedule(recipe.schedule, params.kernel_learning_rate, recipe.epochs, steps)
        super().__init__(rate, global_clipnorm=params.global_clipnorm)
        self.recipe, self.params, self.steps = recipe, params, steps
        self.compute_dtype = keras.config.dtype_policy().compute_dtype
        # SGD's rates are for the sum of a batch's losses, the loop's gradients for their mean.
        self.batch_size = recipe.hard_examples(recipe.batch_size)

    def build(self, variables: list[keras.Variable]) -> None:
        """Make a velocity for each variable, and a schedule for each that SGD updates."""
        if self.built:
            return
        super().build(variables)
        self.velocities = self.add_optimizer_variables(variables, "velocity")
        head = [variable.path for variable in variables if len(variable.shape) == 2][-1:]
        # Of each variable, SGD's schedule and its peak; None where Muon updates it.
        self.sgd: list[tuple[LearningRateSchedule, float] | None] = []
        for variable in variables:
            is_head = variable.path in head
            if len(variable.shape) > 1 and not is_head:
                self.sgd.append(None)
                continue
            params = self.params
            rate = params.head_learning_rate if is_head else params.bias_learning_rate
            peak = self.batch_size * rate
            epochs = frozen_after(self.recipe.network, variable.path)
            epochs = self.recipe.epochs if epochs is None else max(1, epochs)
            schedule = build_schedule(self.recipe.schedule, peak, epochs, self.steps)
            self.sgd.append((schedule, peak))

    def update_step(
        self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor
    ) -> None:
        """Take one step of one variable."""
        index, params = self._get_variable_index(variable), self.params
        velocity, sgd = self.velocities[index], self.sgd[index]
        momentum = params.sgd_momentum if sgd else params.kernel_momentum
        if sgd:
            schedule, peak = sgd
            # The decay falls with the rate.
            gradient += params.sgd_weight_decay * self.batch_size / peak * variable
        velocity.assign(momentum * velocity + gradient)
        step = gradient + momentum * velocity
        if sgd:
            variable.assign_sub(schedule(self.iterations) * step)
            return
        filters = variable.shape[-1]
        matrix = tf.reshape(step, (-1, filters))
        update = orthogonalized(matrix, params.newton_schulz_steps, self.compute_dtype)
        scale = filters**0.5 / tf.norm(variable)
        variable.assign(scale * variable - learning_rate * tf.reshape(update, variable.shape))
