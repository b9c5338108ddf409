"""The learning rate over a training."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field

from stages.params import CountOrZero, Section, increasing

if TYPE_CHECKING:
    from keras.optimizers.schedules import LearningRateSchedule

Inside = Annotated[float, Field(gt=0, lt=1)]
# Of the peak.
Fraction = Annotated[float, Field(ge=0, le=1)]


class ScheduleSection(Section):
    """Base of the schedules' parameters; `build` imports Keras, which takes seconds, itself."""

    name: str  # Here, since pydantic lists a base's keys first.
    warmup_epochs: CountOrZero = 0

    def build(self, peak: float, epochs: int, steps: int) -> "LearningRateSchedule":
        """Return the schedule, after a linear warm-up to the peak.

        Args:
            peak: the highest rate.
            epochs: after which the schedule has ended; it then keeps its last rate.
            steps: of an epoch.
        """
        from stages.train.warmup import Warmup

        warmup = self.warmup_epochs * steps
        falling = self.after_warmup(peak, max(1, epochs * steps - warmup), warmup)
        return Warmup(falling, peak, warmup) if warmup else falling

    def after_warmup(self, peak: float, steps: int, warmup: int) -> "LearningRateSchedule":
        """Return the schedule over `steps` from the peak on, after `warmup` steps."""
        raise NotImplementedError


class Constant(ScheduleSection):
    name: Literal["constant"]

    def after_warmup(self, peak: float, steps: int, warmup: int) -> "LearningRateSchedule":
        """Return a schedule that stays at the peak."""
        from keras.optimizers.schedules import PolynomialDecay

        return PolynomialDecay(peak, steps, peak)


class Linear(ScheduleSection):
    name: Literal["linear"]
    final_share: Fraction = 0.0

    def after_warmup(self, peak: float, steps: int, warmup: int) -> "LearningRateSchedule":
        """Return a straight line from the peak to its final share."""
        from keras.optimizers.schedules import PolynomialDecay

        return PolynomialDecay(peak, steps, peak * self.final_share)


class Cosine(ScheduleSection):
    """Half a period of a cosine: Loshchilov & Hutter, arXiv 1608.03983, without restarts."""

    name: Literal["cosine"]
    final_share: Fraction = 0.0

    def after_warmup(self, peak: float, steps: int, warmup: int) -> "LearningRateSchedule":
        """Return half a cosine from the peak to its final share."""
        from keras.optimizers.schedules import CosineDecay

        return CosineDecay(peak, steps, self.final_share)


class Step(ScheduleSection):
    name: Literal["step"]
    milestones: Annotated[list[Inside], AfterValidator(increasing)] = Field(
        default=[0.5, 0.75], min_length=1, max_length=100
    )
    factor: Inside = 0.1

    def after_warmup(self, peak: float, steps: int, warmup: int) -> "LearningRateSchedule":
        """Return the peak, multiplied by the factor at each milestone, a share of all steps."""
        from keras.optimizers.schedules import PiecewiseConstantDecay

        # Keras changes the rate after the step of a boundary.
        boundaries = [round(share * (warmup + steps)) - warmup - 1 for share in self.milestones]
        rates = [peak * self.factor**drops for drops in range(len(boundaries) + 1)]
        return PiecewiseConstantDecay(boundaries, rates)
