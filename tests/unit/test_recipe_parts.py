"""The parts of a recipe: chosen by name, tolerant of the keys of others, fitting each other."""

from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from stages.train.params import read_recipe
from tests.unit.known_keys import PARTS, defaults
from tests.unit.least_recipe import LEAST, refusal, written

NAMES = {
    "network": "'tutorial', 'airbench', 'resnet'",
    "optimizer": "'rmsprop', 'sgd', 'adam', 'adamw', 'muon'",
    "schedule": "'constant', 'linear', 'cosine', 'step'",
}
# Of each part, as a mistake tells them.
KEYS = {
    "tutorial": "name, filters, kernel_size, activation, batch_norm, pool_after, dropout, "
    "dense_units, dense_dropout",
    "airbench": "name, widths, block_depth, whitening_images, whitening_epsilon, whitening_epochs, "
    "batch_norm_momentum, batch_norm_epsilon",
    "resnet": "name, depth, width",
    "rmsprop": "name, global_clipnorm, learning_rate, weight_decay, rho, momentum, epsilon",
    "sgd": "name, global_clipnorm, learning_rate, weight_decay, momentum, nesterov",
    "adam": "name, global_clipnorm, learning_rate, weight_decay, beta_1, beta_2, epsilon",
    "adamw": "name, global_clipnorm, learning_rate, weight_decay, beta_1, beta_2, epsilon",
    "muon": "name, global_clipnorm, kernel_learning_rate, kernel_momentum, newton_schulz_steps, "
    "bias_learning_rate, head_learning_rate, sgd_momentum, sgd_weight_decay",
    "constant": "name, warmup_epochs",
    "linear": "name, warmup_epochs, final_share",
    "cosine": "name, warmup_epochs, final_share",
    "step": "name, warmup_epochs, milestones, factor",
}
ALL = [(kind, name) for kind, parts in PARTS.items() for name in parts]
PAIRS = [(kind, *pair) for kind, parts in PARTS.items() for pair in permutations(parts, 2)]


def recipe_of(kind: str, name: str, **keys: Any) -> dict[str, Any]:
    """Return a recipe in which one part is another than in the shortest."""
    return LEAST | {kind: {"name": name} | keys}


@pytest.mark.parametrize("kind", NAMES)
def test_a_part_without_a_name_is_refused(folder: Path, kind: str) -> None:
    assert refusal(LEAST | {kind: {}}) == f".{kind}.name: missing"


@pytest.mark.parametrize("name", ["vgg", "", None, 5, ["tutorial"], {"sgd": 1}], ids=str)
@pytest.mark.parametrize("kind", NAMES)
def test_an_unknown_name_is_refused(folder: Path, kind: str, name: Any) -> None:
    expected = f".{kind}.name = {name!r}: allowed are {NAMES[kind]}"
    assert refusal(LEAST | {kind: {"name": name}}) == expected


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_a_part_is_read_with_the_defaults_of_its_keys(folder: Path, kind: str, name: str) -> None:
    written(recipe_of(kind, name))
    part = read_recipe().model_dump()[kind]
    assert part == {"name": name, **defaults(PARTS[kind][name])}


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_an_unknown_key_is_refused(folder: Path, kind: str, name: str) -> None:
    expected = f".{kind}.colour = 'red': unknown key; allowed are {KEYS[name]}"
    assert refusal(recipe_of(kind, name, colour="red")) == expected


@pytest.mark.parametrize(("kind", "name", "other"), PAIRS)
def test_keys_of_the_part_switched_off_may_stay(
    folder: Path, capsys: pytest.CaptureFixture[str], kind: str, name: str, other: str
) -> None:
    """They may even be wrong, since nothing reads them."""
    old = {key: "wrong" for key in PARTS[kind][other] if key not in PARTS[kind][name]}
    written(recipe_of(kind, name))
    expected = read_recipe()
    assert capsys.readouterr().out == ""
    written(recipe_of(kind, name, **old))
    assert read_recipe() == expected
    line = f"params.yaml: recipes.x.{kind}: not of {name}, without effect: {', '.join(old)}\n"
    assert capsys.readouterr().out == (line if old else "")


def test_what_is_left_of_three_parts(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A part's own keys keep their meaning, whatever others have keys of that name."""
    recipe = recipe_of("optimizer", "sgd", rho=0.5, momentum=0.25, kernel_momentum=0.6)
    written(recipe | {"schedule": {"factor": 0.1, "name": "cosine", "final_share": 0.5}})
    read = read_recipe()
    assert read.optimizer.model_dump() == {
        **defaults(PARTS["optimizer"]["sgd"]),
        "name": "sgd",
        "momentum": 0.25,
    }
    assert read.schedule.model_dump() == {
        "name": "cosine",
        "final_share": 0.5,
        "warmup_epochs": 0,
    }
    assert capsys.readouterr().out == (
        "params.yaml: recipes.x.optimizer: not of sgd, without effect: rho, kernel_momentum\n"
        "params.yaml: recipes.x.schedule: not of cosine, without effect: factor\n"
    )


@pytest.mark.parametrize(
    ("kind", "key"), [("network", "rho"), ("optimizer", "depth"), ("schedule", "flip")]
)
def test_keys_of_another_kind_are_refused(folder: Path, kind: str, key: str) -> None:
    name = LEAST[kind]["name"]
    expected = f".{kind}.{key} = 1: unknown key; allowed are {KEYS[name]}"
    assert refusal(recipe_of(kind, name, **{key: 1})) == expected


def test_wrong_values_of_others_keys_are_not_counted(folder: Path) -> None:
    recipe = LEAST | {"network": {"name": "resnet", "filters": 0, "depth": 9, "colour": 1}}
    assert refusal(recipe) == (
        ".network.depth = 9: allowed are 6 n + 2, for example 8, 14, 20, 32, 44, 56 and 110 "
        "(and 1 more: network.colour)"
    )
