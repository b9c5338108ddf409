"""The JSON schema of params.yaml, by which editors complete and check it."""

import json
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest

from stages.params import TOP_LEVEL
from tests.project import ROOT, default_params, put
from tools.schema import main, schema

PATH = ROOT / "params.schema.json"


def test_schema_is_current() -> None:
    assert json.loads(PATH.read_text()) == schema(), (
        "renew it: python -m tools schema > params.schema.json"
    )


def test_file_is_what_is_printed(
    call: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    call(main)
    assert capsys.readouterr().out == PATH.read_text()


def test_help(help_of: Callable[[Callable[[], None]], str]) -> None:
    text = help_of(main)
    assert text.startswith(
        "usage: python -m tools schema [-h] Print the JSON schema of params.yaml"
    )


def test_editors_find_it() -> None:
    """The comment is the one that the YAML language server, in VS Code and others, looks for."""
    first = (ROOT / "params.yaml").read_text().splitlines()[0]
    assert first == f"# yaml-language-server: $schema={PATH.name}"


def problems(params: dict[str, Any]) -> list[str]:
    """Return the dotted keys that do not fit the schema."""
    validator = jsonschema.Draft7Validator(json.loads(PATH.read_text()))
    return [".".join(map(str, error.path)) for error in validator.iter_errors(params)]


def test_params_fit() -> None:
    jsonschema.Draft7Validator.check_schema(schema())
    assert problems(default_params()) == []


@pytest.mark.parametrize(
    ("key", "value", "where"),
    [
        ("sede", 1, ""),
        ("seed", -1, "seed"),
        ("device", "tpu", "device"),
        ("recipes.airbench_small.epochs", 0, "recipes.airbench_small.epochs"),
        ("recipes.airbench_small.epoch", 7, "recipes.airbench_small"),
        ("recipes.airbench_small.network.widths", [1, 2], "recipes.airbench_small.network"),
        ("recipes.airbench_small.schedule.step", 7, "recipes.airbench_small.schedule"),
        ("recipes.resnet20.network.depth", 21, "recipes.resnet20.network"),
        ("recipes.tutorial.network.name", "vgg", "recipes.tutorial.network"),
        ("recipes.tutorial.optimizer", "sgd", "recipes.tutorial.optimizer"),
        ("recipes.tutorial.augmentation.flip", "yes", "recipes.tutorial.augmentation.flip"),
        ("preprocess.validation_split", 1.0, "preprocess.validation_split"),
        ("evaluate.tta", "flipped", "evaluate.tta"),
        ("evaluate.corruptions", ["jpeg_51"], "evaluate.corruptions.0"),
        ("evaluate.corruptions", ["jpeg_50", "jpeg_50"], "evaluate.corruptions"),
        ("plots.dpi", "high", "plots.dpi"),
        ("fetch.sources", [], "fetch.sources"),
        ("fetch.attempts", 0, "fetch.attempts"),
    ],
)
def test_a_mistake_is_underlined(key: str, value: Any, where: str) -> None:
    params = default_params()
    put(params, key, value)
    assert problems(params) == [where]


@pytest.mark.parametrize("key", TOP_LEVEL)
def test_missing_section_is_underlined(key: str) -> None:
    params = default_params()
    del params[key]
    assert problems(params) == [""]


def test_keys_of_other_parts_are_neither_underlined_nor_completed() -> None:
    """Editors complete properties only."""
    params = default_params()
    put(params, "recipes.airbench_small.network.depth", "any")
    put(params, "recipes.airbench_small.optimizer.beta_1", None)
    put(params, "recipes.airbench_small.schedule.factor", [])
    assert problems(params) == []
    parts = schema()["$defs"]
    assert [*parts["ResNet"]["properties"]] == ["name", "depth", "width"]
    assert [*parts["Linear"]["properties"]] == ["name", "warmup_epochs", "final_share"]
    assert parts["Step"]["patternProperties"] == {"^(final_share)$": True}
