"""The parameters of recipes and the seed: what is allowed, and which recipe is on."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from stages.errors import InputError
from stages.params import read
from stages.train.params import (
    AirbenchRecipe,
    Recipe,
    RecipeName,
    Seed,
    TutorialRecipe,
    read_recipe,
)
from tests.project import Params, default_params, write_params

NEARLY_1, NEARLY_0 = 1 - 2**-53, 5e-324
COUNT = ((1, 100_000), (0, 100_001, 1.0, True))
POSITIVE = ((NEARLY_0, 1e30), (0.0, 1.0001e30, "1"))
SHARE = ((0.0, NEARLY_1), (-NEARLY_0, 1.0, float("nan")))
BATCH_SIZE = ((1, 50_000), (0, 50_001))
# By recipe and key: values at the limits, and values beyond.
Limits = tuple[tuple[Any, ...], tuple[Any, ...]]
TUTORIAL: dict[str, Limits] = {
    "filters": COUNT,
    "dense_units": COUNT,
    "dropout": SHARE,
    "dense_dropout": SHARE,
    "learning_rate": POSITIVE,
    "rho": SHARE,
    "momentum": SHARE,
    "epsilon": POSITIVE,
    "batch_size": BATCH_SIZE,
    "epochs": COUNT,
}
AIRBENCH: dict[str, Limits] = {
    "widths": (([1, 2, 100_000],), ([1, 2], [1, 2, 3, 4], [1, 0, 3], [1, 2, 100_001], 3)),
    "whitening_images": ((1, 50_000), (0, 50_001)),
    "whitening_epsilon": POSITIVE,
    "whitening_epochs": ((0, 100_000), (-1, 100_001)),
    "low_resolution": ((9, 32), (8, 33)),
    "low_resolution_share": ((0.0, 1.0), (-NEARLY_0, 1.01)),
    "batch_norm_momentum": ((0.0, 1.0), (-NEARLY_0, 1.01)),
    "batch_norm_epsilon": POSITIVE,
    "learning_rate": POSITIVE,
    "momentum": SHARE,
    "newton_schulz_steps": ((1, 20), (0, 21)),
    "bias_learning_rate": POSITIVE,
    "head_learning_rate": POSITIVE,
    "sgd_momentum": SHARE,
    "weight_decay": ((0.0, 1e30), (-NEARLY_0, 1.0001e30)),
    "label_smoothing": SHARE,
    "translation": ((0, 16), (-1, 17)),
    "batch_size": BATCH_SIZE,
    "epochs": COUNT,
}
KEYS: list[tuple[type[TutorialRecipe | AirbenchRecipe], str, Limits]] = [
    *((TutorialRecipe, key, limits) for key, limits in TUTORIAL.items()),
    *((AirbenchRecipe, key, limits) for key, limits in AIRBENCH.items()),
]
NAMES = {TutorialRecipe: "tutorial", AirbenchRecipe: "airbench_small"}


@pytest.fixture(scope="module")
def recipes() -> Params:
    return default_params()["recipes"]


@pytest.mark.parametrize(("schema", "key", "limits"), KEYS)
def test_limits(
    recipes: Params, schema: type[TutorialRecipe | AirbenchRecipe], key: str, limits: Limits
) -> None:
    values = recipes[NAMES[schema]]
    allowed, refused = limits
    for value in allowed:
        assert getattr(schema.model_validate(values | {key: value}), key) == value
    for value in refused:
        with pytest.raises(ValidationError) as caught:
            schema.model_validate(values | {key: value})
        assert caught.value.errors()[0]["loc"][0] == key
    with pytest.raises(ValidationError, match="Field required"):
        schema.model_validate({name: value for name, value in values.items() if name != key})


@pytest.mark.parametrize("schema", NAMES)
def test_a_recipe_has_these_keys_and_no_other(
    recipes: Params, schema: type[TutorialRecipe | AirbenchRecipe]
) -> None:
    limits = TUTORIAL if schema is TutorialRecipe else AIRBENCH
    values = recipes[NAMES[schema]]
    assert [*values] == [*schema.model_fields] == ["model", *limits]
    for changed in ({"colour": 1}, {"model": "vgg"}):
        with pytest.raises(ValidationError):
            schema.model_validate(values | changed)


def test_limits_of_the_seed() -> None:
    seed = TypeAdapter(Seed)
    for value in (0, 4_294_967_295):
        assert seed.validate_python(value, strict=True) == value
    for value in (-1, 4_294_967_296):
        with pytest.raises(ValidationError):
            seed.validate_python(value, strict=True)


@pytest.mark.parametrize("name", ["a", "A-b_9", "-", "é", "10"])
def test_names_of_recipes(name: str) -> None:
    assert TypeAdapter(RecipeName).validate_python(name) == name


@pytest.mark.parametrize("name", ["", "v1.5", "a b", "a\n", "a/b"])
def test_a_name_that_dvc_would_not_find_is_refused(folder: Path, name: str) -> None:
    write_params(folder, {"recipe": name})
    with pytest.raises(InputError) as caught:
        read("recipe", RecipeName)
    assert str(caught.value) == (
        f"params.yaml: recipe = {name!r}: "
        "allowed are letters, digits, _ and -; a dot separates keys for DVC"
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tutorial", TutorialRecipe),
        ("airbench94", AirbenchRecipe),
        ("airbench_small", AirbenchRecipe),
    ],
)
def test_the_recipe_that_is_on_is_read(params: Params, name: str, expected: type[Recipe]) -> None:
    params["recipe"] = name
    write_params(Path(), params)
    recipe = read_recipe()
    assert type(recipe) is expected
    assert recipe.model_dump() == params["recipes"][name]


def test_a_recipe_that_is_off_may_be_wrong(params: Params) -> None:
    params["recipes"]["tutorial"] = {"model": "vgg"}
    write_params(Path(), params)
    assert read_recipe().epochs == 7


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (
            {"recipe": "vgg", "recipes": {"a": {}, "b": {}}},
            "recipe = 'vgg': none of recipes; allowed are 'a', 'b'",
        ),
        ({"recipe": "vgg", "recipes": 5}, "recipe = 'vgg': none of recipes; allowed are its keys"),
        (
            {"recipe": "vgg", "recipes": "a vgg"},
            "recipe = 'vgg': none of recipes; allowed are its keys",
        ),
        ({"recipe": "a", "recipes": {"a": {}}}, "recipes.a.model: missing"),
        (
            {"recipe": "a", "recipes": {"a": {"model": "vgg"}}},
            "recipes.a.model = 'vgg': should be 'tutorial' or 'airbench'",
        ),
        (
            {"recipe": "a", "recipes": {"a": {"model": "tutorial"}}},
            "recipes.a.filters: missing (and 9 more)",
        ),
        (
            {"recipe": "a", "recipes": {"a": {"model": "airbench"}}},
            "recipes.a.widths: missing (and 18 more)",
        ),
        ({"recipes": {}}, "recipe: missing"),
    ],
)
def test_what_is_wrong_with_the_recipe_is_told(
    folder: Path, changed: dict[str, object], says: str
) -> None:
    write_params(folder, changed)
    with pytest.raises(InputError) as caught:
        read_recipe()
    assert str(caught.value) == f"params.yaml: {says}"


def test_without_recipes_none_is_allowed(folder: Path) -> None:
    write_params(folder, {"recipe": "a"})
    with pytest.raises(InputError) as caught:
        read_recipe()
    assert str(caught.value) == ("params.yaml: recipe = 'a': none of recipes; allowed are its keys")
