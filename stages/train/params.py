"""Typed parameters of the stage train: the seed and one schema for each kind of recipe."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from stages.errors import InputError
from stages.params import PATH, Section, document, read

# Above these, TensorFlow and Python themselves end in errors of their own.
Count = Annotated[int, Field(ge=1, le=100_000)]
Positive = Annotated[float, Field(gt=0, le=1e30)]
Share = Annotated[float, Field(ge=0, lt=1)]
BatchSize = Annotated[int, Field(ge=1, le=50_000)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class TutorialRecipe(Section):
    model: Literal["tutorial"]
    filters: Count
    dense_units: Count
    dropout: Share
    dense_dropout: Share
    learning_rate: Positive
    rho: Share
    momentum: Share
    epsilon: Positive
    batch_size: BatchSize
    epochs: Count


class AirbenchRecipe(Section):
    model: Literal["airbench"]
    widths: Annotated[list[Count], Field(min_length=3, max_length=3)]
    whitening_images: Annotated[int, Field(ge=1, le=50_000)]
    whitening_epsilon: Positive
    whitening_epochs: Annotated[int, Field(ge=0, le=100_000)]
    low_resolution: Annotated[int, Field(ge=9, le=32)]
    low_resolution_share: Annotated[float, Field(ge=0, le=1)]
    batch_norm_momentum: Annotated[float, Field(ge=0, le=1)]
    batch_norm_epsilon: Positive
    learning_rate: Positive
    momentum: Share
    newton_schulz_steps: Annotated[int, Field(ge=1, le=20)]
    bias_learning_rate: Positive
    head_learning_rate: Positive
    sgd_momentum: Share
    weight_decay: Annotated[float, Field(ge=0, le=1e30)]
    label_smoothing: Share
    translation: Annotated[int, Field(ge=0, le=16)]
    batch_size: BatchSize
    epochs: Count


RECIPES = {"tutorial": TutorialRecipe, "airbench": AirbenchRecipe}
Recipe = TutorialRecipe | AirbenchRecipe


def as_recipe_name(name: str) -> str:
    """Return the name of a recipe; raise a ValueError where DVC would not find `recipes.NAME`."""
    if not re.fullmatch(r"[\w-]+", name):
        raise ValueError("allowed are letters, digits, _ and -; a dot separates keys for DVC")
    return name


RecipeName = Annotated[str, AfterValidator(as_recipe_name)]


def read_recipe() -> Recipe:
    """Return the recipe that is on.

    Raises:
        InputError: `recipe` names none, or the recipe's parameters do not fit its model.
    """
    name = read("recipe", RecipeName)
    recipes = document().get("recipes")
    if not isinstance(recipes, dict) or name not in recipes:
        allowed = ", ".join(map(repr, recipes)) if isinstance(recipes, dict) else "its keys"
        raise InputError(f"{PATH}: recipe = {name!r}: none of recipes; allowed are {allowed}")
    model = read(f"recipes.{name}.model", Literal["tutorial", "airbench"])
    return read(f"recipes.{name}", RECIPES[model])
