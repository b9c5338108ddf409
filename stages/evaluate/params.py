"""Typed parameters of the stage evaluate."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from stages.corruptions import Corruption
from stages.params import Section

Tta = Literal["none", "flip", "flip_translate"]


def distinct(names: list[Corruption]) -> list[Corruption]:
    """Return the names; raise a ValueError where one comes twice."""
    if len(set(names)) < len(names):
        raise ValueError("each should be there once")
    return names


class EvaluateParams(Section):
    batch_size: Annotated[int, Field(ge=1, le=10_000)]
    tta: Tta
    calibration_bins: Annotated[int, Field(ge=1, le=100)]
    corruptions: Annotated[
        list[Corruption],
        AfterValidator(distinct),
        Field(json_schema_extra={"uniqueItems": True}),
    ]
