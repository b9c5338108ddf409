"""The optimizers and their parameters, which have Keras's names and, where left out, defaults."""

from typing import TYPE_CHECKING, Annotated, Literal, Protocol

from pydantic import Field

from stages.params import NotNegative, Positive, Section, Share

if TYPE_CHECKING:
    import keras
    from keras.optimizers.schedules import LearningRateSchedule


class Rate(Protocol):
    """Makes learning rates that follow the recipe's schedule."""

    def __call__(self, peak: float, path: str = "") -> "LearningRateSchedule":
        """Return the schedule of this peak, over the epochs that the variable at `path` learns."""


class OptimizerSection(Section):
    """Base of the optimizers' parameters; `build` imports Keras, which takes seconds, itself."""

    name: str  # Here, since pydantic lists a base's keys first.
    global_clipnorm: Positive | None = None

    def build(
        self, rate: Rate, variables: "list[keras.Variable]", batch_size: int
    ) -> "keras.Optimizer":
        """Return the optimizer.

        Args:
            rate: makes learning rates.
            variables: what will be trained.
            batch_size: images of a step.
        """
        raise NotImplementedError


class KerasOptimizer(OptimizerSection):
    """Base of those that Keras itself has."""

    learning_rate: Positive = 0.001
    weight_decay: NotNegative | None = None

    def build(
        self, rate: Rate, variables: "list[keras.Variable]", batch_size: int
    ) -> "keras.Optimizer":
        """Return the optimizer of the same name and parameters."""
        from keras import optimizers

        settings = self.model_dump(exclude={"name", "learning_rate"}, exclude_none=True)
        return getattr(optimizers, type(self).__name__)(rate(self.learning_rate), **settings)


class RMSprop(KerasOptimizer):
    name: Literal["rmsprop"]
    rho: Share = 0.9
    momentum: Share = 0.0
    epsilon: Positive = 1e-7


class SGD(KerasOptimizer):
    name: Literal["sgd"]
    learning_rate: Positive = 0.01
    momentum: Share = 0.0
    nesterov: bool = False


class Adam(KerasOptimizer):
    name: Literal["adam"]
    beta_1: Share = 0.9
    beta_2: Share = 0.999
    epsilon: Positive = 1e-7


class AdamW(KerasOptimizer):
    name: Literal["adamw"]
    beta_1: Share = 0.9
    beta_2: Share = 0.999
    epsilon: Positive = 1e-7


class Muon(OptimizerSection):
    """Muon for kernels, SGD for everything else, at rates for the sum of a batch's losses."""

    name: Literal["muon"]
    kernel_learning_rate: Positive = 0.05
    kernel_momentum: Share = 0.6
    newton_schulz_steps: Annotated[int, Field(ge=1, le=20)] = 3
    bias_learning_rate: Positive = 0.0005
    head_learning_rate: Positive = 0.0005
    sgd_momentum: Share = 0.85
    sgd_weight_decay: NotNegative = 2e-6

    def build(
        self, rate: Rate, variables: "list[keras.Variable]", batch_size: int
    ) -> "keras.Optimizer":
        """Return the optimizer: biases and the last layer's kernel, the head, are SGD's."""
        from stages.train import muon

        head = [v.path for v in variables if len(v.shape) == 2][-1:]
        # These rates are for the sum of a batch's losses, the loop's gradients for their mean.
        peaks = {
            v.path: batch_size
            * (self.head_learning_rate if v.path in head else self.bias_learning_rate)
            for v in variables
            if v.path in head or len(v.shape) < 2
        }
        return muon.Muon(
            rate(self.kernel_learning_rate),
            self.kernel_momentum,
            self.newton_schulz_steps,
            {path: (rate(peak, path), peak) for path, peak in peaks.items()},
            self.sgd_momentum,
            self.sgd_weight_decay * batch_size,
            global_clipnorm=self.global_clipnorm,
        )
