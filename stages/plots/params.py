"""Typed parameters of the stage plots."""

from typing import Annotated

from pydantic import Field

from stages.params import Section


class PlotsParams(Section):
    columns: Annotated[int, Field(ge=3, le=12)]
    rows: Annotated[int, Field(ge=1, le=12)]
    dpi: Annotated[int, Field(ge=50, le=400)]
