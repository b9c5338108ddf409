"""The JSON schema refuses what the stages refuse, and nothing else, for any edit of params.yaml."""

from copy import deepcopy
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from stages.evaluate.params import EvaluateParams
from stages.fetch.params import FetchParams
from stages.params import Device, Devices, Precision
from stages.plots.params import PlotsParams
from stages.preprocess.params import PreprocessParams
from stages.train.params import Recipe, Seed
from tests.project import default_params, get
from tests.unit.allowed_values import ORDER
from tests.unit.known_keys import AUGMENTATION, OWN, PARTS, REQUIRED, Keys
from tools.schema import schema

VALIDATOR = jsonschema.Draft7Validator(schema())
# By the types that the stages read by.
SECTIONS: dict[str, TypeAdapter[Any]] = {
    "seed": TypeAdapter(Seed),
    "device": TypeAdapter(Device),
    "devices": TypeAdapter(Devices),
    "precision": TypeAdapter(Precision),
    "recipe": TypeAdapter(str),
    "recipes": TypeAdapter(dict[str, Recipe]),
    "fetch": TypeAdapter(FetchParams),
    "preprocess": TypeAdapter(PreprocessParams),
    "evaluate": TypeAdapter(EvaluateParams),
    "plots": TypeAdapter(PlotsParams),
}
PARAMS = default_params()
searching = settings(max_examples=500, deadline=None, derandomize=True)


def allowed(params: dict[str, Any]) -> bool:
    """Return whether the stages allow a document."""
    try:
        for name, section in SECTIONS.items():
            section.validate_python(params[name], strict=True)
    except ValidationError:
        return False
    return True


def told_apart(value: Any) -> bool:
    """Return whether a JSON schema can tell the value from any other.

    It takes 1.0 for an integer, knows no NaN, and no order of numbers in a list.
    """
    if isinstance(value, float):
        return abs(value) < float("inf") and not value.is_integer()
    if isinstance(value, list):
        numbers = [item for item in value if isinstance(item, int | float)]
        return all(map(told_apart, value)) and numbers == sorted(set(numbers))
    return not isinstance(value, dict) or all(map(told_apart, value.values()))


def keys_of(content: dict[str, Any], prefix: str = "") -> list[str]:
    """Return the dotted key of everything in a document, and one that is unknown everywhere."""
    found = [f"{prefix}colour"] if prefix != "recipes." else []
    for name, value in content.items():
        found.append(f"{prefix}{name}")
        if isinstance(value, dict):
            found += keys_of(value, f"{prefix}{name}.")
    return found


NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
SCALARS = (
    st.none() | st.booleans() | NUMBERS | st.text(max_size=5) | st.sampled_from(["sgd", "cpu"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["name", "colour", "warmup_epochs"]), inner, max_size=3)
    ),
    max_leaves=6,
).filter(told_apart)


@pytest.mark.slow
@searching
@given(key=st.sampled_from([key for key in keys_of(PARAMS) if "." in key]), value=VALUES)
def test_any_value_of_any_key(key: str, value: Any) -> None:
    params = deepcopy(PARAMS)
    section, _, last = key.rpartition(".")
    get(params, section)[last] = value
    assert VALIDATOR.is_valid(params) == allowed(params)


def some_of(keys: Keys) -> dict[str, st.SearchStrategy[Any]]:
    """Return, for each key, the values at the limits of what it may hold."""
    return {name: st.sampled_from(key.values.allowed) for name, key in keys.items()}


def keys_of_kind(kind: str) -> Keys:
    """Return the keys of all parts of a kind."""
    return {name: key for keys in PARTS[kind].values() for name, key in keys.items()}


RECIPES = st.fixed_dictionaries(
    {
        **{
            kind: st.fixed_dictionaries(
                {"name": st.sampled_from([*parts])}, optional=some_of(keys_of_kind(kind))
            )
            for kind, parts in PARTS.items()
        },
        **{name: st.sampled_from(values.allowed) for name, values in REQUIRED.items()},
    },
    optional={
        "augmentation": st.fixed_dictionaries({}, optional=some_of(AUGMENTATION)),
        **some_of(OWN),
    },
)
REFUSED = [
    (kind, name, value)
    for kind, keys in {
        **{kind: keys_of_kind(kind) for kind in PARTS},
        "augmentation": AUGMENTATION,
    }.items()
    for name, key in keys.items()
    for value, says in key.values.refused
    if says != ORDER and told_apart(value)
]


@pytest.mark.slow
@searching
@given(recipe=RECIPES, wrong=st.none() | st.sampled_from(REFUSED))
def test_recipes_of_any_parts(recipe: Any, wrong: tuple[str, str, Any] | None) -> None:
    """What is wrong with a part is so with one that has the key, and not with another."""
    expected = True
    if wrong is not None:
        kind, name, value = wrong
        recipe.setdefault(kind, {})[name] = value
        expected = kind in PARTS and name not in PARTS[kind][recipe[kind]["name"]]
    params = PARAMS | {"recipes": {"x": recipe}}
    assert VALIDATOR.is_valid(params) == allowed(params) == expected
