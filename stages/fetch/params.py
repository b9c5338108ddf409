"""Typed parameters of the stage fetch."""

from typing import Annotated

from pydantic import Field

from stages.params import Section

Location = Annotated[str, Field(min_length=1)]
Source = Location | Annotated[list[Location], Field(min_length=1)]


class FetchParams(Section):
    sources: Annotated[list[Source], Field(min_length=1)]
    attempts: Annotated[int, Field(ge=1, le=20)]
    stall_seconds: Annotated[float, Field(gt=0, le=600)]
    minimum_rate: Annotated[int, Field(ge=1)]
    maximum_bytes: Annotated[int, Field(ge=1)]
