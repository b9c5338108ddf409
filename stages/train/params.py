"""Typed parameters of the stage train: the seed and the recipe, whose parts go by their names."""

import re
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from stages.cifar10 import SIDE
from stages.errors import InputError
from stages.models.airbench import Airbench
from stages.models.resnet import ResNet
from stages.models.tutorial import Tutorial
from stages.params import PATH, Count, CountOrZero, Part, Section, Share, document, read
from stages.problems import name_of
from stages.train.augmentation import Augmentation
from stages.train.optimizers import SGD, Adam, AdamW, Muon, RMSprop
from stages.train.schedules import Constant, Cosine, Linear, Step

Network = Tutorial | Airbench | ResNet
Optimizer = RMSprop | SGD | Adam | AdamW | Muon
Schedule = Constant | Linear | Cosine | Step
# The kinds of parts of which a recipe names one each.
KINDS = ("network", "optimizer", "schedule")

BatchSize = Annotated[int, Field(ge=1, le=50_000)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class Recipe(Section):
    network: Network = Field(discriminator="name")
    optimizer: Optimizer = Field(discriminator="name")
    schedule: Schedule = Field(discriminator="name")
    augmentation: Augmentation = Augmentation()
    label_smoothing: Share = 0.0
    temperature_scaling: bool = True
    ema_momentum: Share = 0.0
    hardest_share: Part = 1.0
    proxy_width: Part = 0.25
    batch_size: BatchSize
    epochs: Count
    keep: Literal["last", "best"] = "last"
    patience: CountOrZero = 0

    @field_validator(*KINDS, mode="before")
    @classmethod
    def own_keys(cls, value: Any, info: ValidationInfo) -> Any:
        """Return the part without what only others of its kind know.

        Who switches a part by its name leaves the old one's keys behind.
        """
        unused = unused_keys(str(info.field_name), value)
        return {k: v for k, v in value.items() if k not in unused} if unused else value


def parts_of(kind: str) -> dict[object, type[Section]]:
    """Return the parts of a kind, for example `optimizer`, by their names."""
    return {name_of(part): part for part in get_args(Recipe.model_fields[kind].annotation)}


def keys_of_others(kind: str, name: object) -> list[str]:
    """Return the keys that other parts of a kind have and the part of this name has not."""
    parts = parts_of(kind)
    keys = dict.fromkeys(key for part in parts.values() for key in part.model_fields)
    return [key for key in keys if key not in parts[name].model_fields]


def unused_keys(kind: str, value: Any) -> list[str]:
    """Return the keys of `value` that the part it names has not, and another of its kind has."""
    name = value.get("name") if isinstance(value, dict) else None
    if not isinstance(name, str) or name not in parts_of(kind):
        return []
    others = keys_of_others(kind, name)
    return [key for key in value if key in others]


def as_recipe_name(name: str) -> str:
    """Return the name of a recipe; raise a ValueError where DVC would not find `recipes.NAME`."""
    if not re.fullmatch(r"[\w-]+", name):
        raise ValueError("allowed are letters, digits, _ and -; a dot separates keys for DVC")
    return name


RecipeName = Annotated[str, AfterValidator(as_recipe_name)]


def read_recipe() -> Recipe:
    """Return the selected recipe.

    Raises:
        InputError: `recipe` names none, a parameter does not fit its part, or two parts do not fit
            each other.
    """
    name = read("recipe", RecipeName)
    recipes = document().get("recipes")
    if not isinstance(recipes, dict) or name not in recipes:
        allowed = ", ".join(map(repr, recipes)) if isinstance(recipes, dict) else "its keys"
        raise InputError(f"{PATH}: recipe = {name!r}: none of recipes; allowed are {allowed}")
    key = f"recipes.{name}"
    recipe: Recipe = read(key, Recipe)
    check_together(key, recipe)
    for kind in KINDS:
        if unused := unused_keys(kind, recipes[name][kind]):
            part = getattr(recipe, kind).name
            print(f"{PATH}: {key}.{kind}: not of {part}, without effect: {', '.join(unused)}")
    return recipe


def check_together(key: str, recipe: Recipe) -> None:
    """Raise an InputError where two parts of the recipe at `key` do not fit each other."""
    network, augmentation = recipe.network, recipe.augmentation
    side, smallest = augmentation.low_resolution, network.smallest_side
    if augmentation.low_resolution_epochs(recipe.epochs) and side < smallest:
        others = [name_of(n) for n in get_args(Network) if n.smallest_side <= side]
        allowed = f"{smallest} to {SIDE}" if smallest < SIDE else str(SIDE)
        raise InputError(
            f"{PATH}: {key}.augmentation.low_resolution = {side}: network {network.name} takes no "
            f"images below {smallest} x {smallest} pixels; allowed are {allowed}, "
            f"low_resolution_share 0, or network.name {' or '.join(map(str, others))}"
        )
    if isinstance(network, Tutorial) and max(network.pool_after, default=0) > len(network.filters):
        raise InputError(
            f"{PATH}: {key}.network.pool_after = {network.pool_after}: "
            f"allowed are numbers up to {len(network.filters)}, that of the last convolution"
        )
    warmup_epochs = recipe.schedule.warmup_epochs
    if warmup_epochs >= recipe.epochs:
        raise InputError(
            f"{PATH}: {key}.schedule.warmup_epochs = {warmup_epochs}: "
            f"should be less than epochs, {recipe.epochs}"
        )


def check_validation(recipe: Recipe, images: int) -> None:
    """Raise an InputError where the recipe chooses by validation images and there are none."""
    if images == 0 and (recipe.keep == "best" or recipe.patience):
        value = "keep = 'best'" if recipe.keep == "best" else f"patience = {recipe.patience}"
        raise InputError(
            f"{PATH}: recipes.{read('recipe', RecipeName)}.{value}: needs validation images; "
            "preprocess.validation_split is too small"
        )
