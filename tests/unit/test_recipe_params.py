"""Which recipe is on, what its name and the seed may be."""

from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from stages.errors import InputError
from stages.params import read
from stages.train.params import RecipeName, Seed, read_recipe
from tests.project import Params, write_params


def test_limits_of_the_seed() -> None:
    seed = TypeAdapter(Seed)
    for value in (0, 4_294_967_295):
        assert seed.validate_python(value, strict=True) == value
    for value in (-1, 4_294_967_296):
        with pytest.raises(ValidationError):
            seed.validate_python(value, strict=True)


@pytest.mark.parametrize(
    "name",
    ["a", "A-b_9", "-", "é", "10"],
    ids=["letter", "mixed", "hyphen", "accented", "digits"],
)
def test_names_of_recipes(name: str) -> None:
    assert TypeAdapter(RecipeName).validate_python(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "v1.5", "a b", "a\n", "a/b"],
    ids=["empty", "dot", "space", "newline", "slash"],
)
def test_a_name_that_dvc_would_not_find_is_refused(folder: Path, name: str) -> None:
    write_params(folder, {"recipe": name})
    with pytest.raises(InputError) as caught:
        read("recipe", RecipeName)
    assert str(caught.value) == (
        f"params.yaml: recipe = {name!r}: "
        "allowed are letters, digits, _ and -; a dot separates keys for DVC"
    )


@pytest.mark.parametrize("name", ["tutorial", "airbench94", "airbench_small", "resnet20"])
def test_the_recipe_that_is_on_is_read(params: Params, name: str) -> None:
    params["recipe"] = name
    write_params(Path(), params)
    assert read_recipe().model_dump() == params["recipes"][name]


def test_a_recipe_that_is_off_may_be_wrong(params: Params) -> None:
    params["recipes"]["tutorial"] = {"network": "vgg"}
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
        (
            {"recipe": "a", "recipes": {"a": {}}},
            "recipes.a.network: missing (and 4 more: optimizer, schedule, batch_size, epochs)",
        ),
        ({"recipe": "a", "recipes": {"a": None}}, "recipes.a = None: should be a mapping"),
        (
            {"recipe": "a", "recipes": {"a": {"network": {"name": "vgg"}}}},
            "recipes.a.network.name = 'vgg': allowed are 'tutorial', 'airbench', 'resnet' "
            "(and 4 more: optimizer, schedule, batch_size, epochs)",
        ),
        ({"recipes": {}}, "recipe: missing"),
        ({"recipe": "a"}, "recipe = 'a': none of recipes; allowed are its keys"),
    ],
)
def test_what_is_wrong_with_the_recipe_is_told(
    folder: Path, changed: dict[str, object], says: str
) -> None:
    write_params(folder, changed)
    with pytest.raises(InputError) as caught:
        read_recipe()
    assert str(caught.value) == f"params.yaml: {says}"
