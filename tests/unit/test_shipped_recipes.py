"""The recipes of params.yaml as it is shipped: complete, and as their comments say."""

import re
from typing import Any, get_args

import pytest

from stages.train.augmentation import Augmentation
from stages.train.params import Recipe
from tests.project import ROOT, default_params
from tests.unit.known_keys import AUGMENTATION, OWN, PARTS, REQUIRED

RECIPES = default_params()["recipes"]
NAMES = {
    "network": "tutorial, airbench or resnet: stages/models",
    "optimizer": "rmsprop, sgd, adam, adamw or muon: stages/train/optimizers.py",
    "schedule": "constant, linear, cosine or step: stages/train/schedules.py",
}
COMMENTS = {
    **{key: values.comment for key, (_, values) in (AUGMENTATION | OWN).items()},
    **{key: values.comment for key, values in REQUIRED.items()},
}


def comments() -> list[tuple[str, str, str]]:
    """Return recipe, dotted key and comment of each line of a recipe."""
    found = []
    recipe = kind = ""
    text = (ROOT / "params.yaml").read_text()
    for line in text[text.index("\nrecipes:") : text.index("\nfetch:")].splitlines():
        if match := re.fullmatch(r"  (\w+):", line):
            recipe = match[1]
        elif match := re.fullmatch(r"    (\w+):", line):
            kind = match[1]
        elif match := re.fullmatch(r"    (  )?(\w+): .*?  # (.*)", line):
            key = f"{kind}.{match[2]}" if match[1] else match[2]
            found.append((recipe, key, match[3]))
    return found


def dotted(recipe: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a recipe by their dotted keys."""
    return {
        f"{key}.{name}" if name else key: value
        for key, section in recipe.items()
        for name, value in (section.items() if isinstance(section, dict) else [("", section)])
    }


def fits(value: Any, text: str) -> bool:
    """Return whether a value, or each of a list, is what a comment allows."""
    if isinstance(value, list):
        return all(fits(item, text) for item in value)
    if match := re.search(r"(\d+) to (\d+)", text):
        return int(match[1]) <= value <= int(match[2])
    if match := re.search(r"0 (<=?) \w+ (<=?) 1", text):
        ends = {0: match[1], 1: match[2]}
        return 0 < value < 1 or ends.get(value) == "<="
    if match := re.search(r"(>=?) (\d)", text):
        return value > int(match[2]) or (value == int(match[2]) and match[1] == ">=")
    return str(value) in re.findall(r"\w+", text)


@pytest.mark.parametrize("kind", PARTS)
def test_parts_have_these_keys(kind: str) -> None:
    parts = {
        get_args(part.model_fields["name"].annotation)[0]: part.model_fields
        for part in get_args(Recipe.model_fields[kind].annotation)
    }
    assert [*parts] == [*PARTS[kind]]
    for name, keys in PARTS[kind].items():
        assert set(parts[name]) == {"name", *keys}


def test_recipes_have_these_keys() -> None:
    assert set(Recipe.model_fields) == {*PARTS, "augmentation", *OWN, *REQUIRED}
    assert set(Augmentation.model_fields) == set(AUGMENTATION)


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_key_of_the_parts_is_there(recipe: str) -> None:
    """So that whoever edits the file sees all there is to edit."""
    values = RECIPES[recipe]
    assert [*values][:4] == [*PARTS, "augmentation"]
    assert set(values) == {*PARTS, "augmentation", *OWN, *REQUIRED}
    assert [*values["augmentation"]] == [*AUGMENTATION]
    for kind, parts in PARTS.items():
        name, *keys = values[kind]
        assert name == "name"
        assert set(keys) == set(parts[values[kind]["name"]])


def test_every_value_has_a_comment() -> None:
    found: dict[str, list[str]] = {name: [] for name in RECIPES}
    for recipe, key, _ in comments():
        found[recipe].append(key)
    assert found == {name: [*dotted(recipe)] for name, recipe in RECIPES.items()}


@pytest.mark.parametrize(
    ("recipe", "key", "comment"),
    comments(),
    ids=[f"{recipe}.{key}" for recipe, key, _ in comments()],
)
def test_comments(recipe: str, key: str, comment: str) -> None:
    kind, _, name = key.rpartition(".")
    value = dotted(RECIPES[recipe])[key]
    if name == "name":
        assert comment == NAMES[kind]
        assert value in PARTS[kind]
    elif name == "pool_after":
        assert "counted from 1, at most 5" in comment
        assert fits(value, ">= 1")
        assert len(value) <= 5
    else:
        of_part = PARTS[kind][RECIPES[recipe][kind]["name"]] if kind in PARTS else {}
        says = of_part[name].values.comment if of_part else COMMENTS[name]
        assert says in comment
        if value is None:
            assert "; null: " in comment
        elif isinstance(value, bool):
            assert comment.startswith("whether ")
        elif name == "patience":
            assert fits(value, ">= 0")
        else:
            assert fits(value, says)
