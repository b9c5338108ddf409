"""Typed parameters of the stage evaluate."""

from typing import Annotated, Literal

from pydantic import Field

from stages.params import Section

Tta = Literal["none", "flip", "flip_translate"]


class EvaluateParams(Section):
    batch_size: Annotated[int, Field(ge=1, le=10_000)]
    tta: Tta
    calibration_bins: Annotated[int, Field(ge=1, le=100)]
