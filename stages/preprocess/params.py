"""Typed parameters of the stage preprocess."""

from typing import Annotated

from pydantic import Field

from stages.params import Section


class PreprocessParams(Section):
    train_size: Annotated[int, Field(ge=1, le=50_000)]
    test_size: Annotated[int, Field(ge=1, le=10_000)]
    validation_split: Annotated[float, Field(ge=0, lt=1)]
