"""Each key of a recipe: every value at its limits is allowed, those beyond are refused."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from stages.params import read
from stages.train.params import Recipe
from tests.project import get, put
from tests.unit.allowed_values import Values
from tests.unit.known_keys import AUGMENTATION, OWN, PARTS, REQUIRED, defaults
from tests.unit.least_recipe import LEAST, refusal, written

# Each kind of part, its name where it has one, a key of it and what that may hold.
KEYS: list[tuple[str, str, str, Values]] = [
    *(
        (kind, name, key, values)
        for kind, parts in PARTS.items()
        for name, keys in parts.items()
        for key, (_, values) in keys.items()
    ),
    *(("augmentation", "", key, values) for key, (_, values) in AUGMENTATION.items()),
    *(("", "", key, values) for key, (_, values) in OWN.items()),
    *(("", "", key, values) for key, values in REQUIRED.items()),
]


@pytest.mark.parametrize(
    ("kind", "name", "key", "values"),
    KEYS,
    ids=[".".join(filter(None, row[:3])) for row in KEYS],
)
def test_values(folder: Path, kind: str, name: str, key: str, values: Values) -> None:
    recipe = deepcopy(LEAST)
    if kind:
        recipe[kind] = {"name": name} if name else {}
    path = f"{kind}.{key}" if kind else key
    holder = get(recipe, kind) if kind else recipe
    for value in values.allowed:
        holder[key] = value
        written(recipe)
        part: Any = read("recipes.x", Recipe)
        assert getattr(getattr(part, kind) if kind else part, key) == value
    for value, says in values.refused:
        holder[key] = value
        of_an_item = says[0].isdigit()
        line = f".{path}.{says}" if of_an_item else f".{path} = {value!r}: {says}"
        assert refusal(recipe) == line


def test_all_but_a_few_keys_may_be_left_out(folder: Path) -> None:
    written(LEAST)
    assert read("recipes.x", Recipe).model_dump() == {
        "network": {"name": "tutorial", **defaults(PARTS["network"]["tutorial"])},
        "optimizer": {"name": "sgd", **defaults(PARTS["optimizer"]["sgd"])},
        "schedule": {"name": "constant", "warmup_epochs": 0},
        "augmentation": defaults(AUGMENTATION),
        **defaults(OWN),
        "batch_size": 1,
        "epochs": 1,
    }


@pytest.mark.parametrize("key", LEAST)
def test_these_keys_are_not_left_out(folder: Path, key: str) -> None:
    assert refusal({k: v for k, v in LEAST.items() if k != key}) == f".{key}: missing"


@pytest.mark.parametrize("value", [None, 5, "sgd", []], ids=str)
@pytest.mark.parametrize("key", ["", "network", "optimizer", "schedule", "augmentation"])
def test_what_is_no_mapping_is_refused(folder: Path, key: str, value: Any) -> None:
    says = f" = {value!r}: should be a mapping"
    if key:
        assert refusal(LEAST | {key: value}) == f".{key}{says}"
    else:
        assert refusal(value) == says


@pytest.mark.parametrize(
    ("key", "allowed"),
    [
        (
            "colour",
            "network, optimizer, schedule, augmentation, label_smoothing, temperature_scaling, "
            "ema_momentum, hardest_share, proxy_width, batch_size, epochs, keep, patience",
        ),
        (
            "augmentation.colour",
            "flip, translation, border, cutout, brightness, contrast, noise, jpeg, "
            "low_resolution, low_resolution_share",
        ),
    ],
)
def test_an_unknown_key_is_refused(folder: Path, key: str, allowed: str) -> None:
    recipe = deepcopy(LEAST) | {"augmentation": {}}
    put(recipe, key, 1)
    assert refusal(recipe) == f".{key} = 1: unknown key; allowed are {allowed}"
