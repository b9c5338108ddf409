"""Typed parameters of the stage evaluate."""

from typing import Annotated

from pydantic import Field

from stages.params import Section


class EvaluateParams(Section):
    batch_size: Annotated[int, Field(ge=1, le=10_000)]
    calibration_bins: Annotated[int, Field(ge=1, le=100)]
