"""params.yaml as it is shipped: its recipes, what its comments promise, and what -S does to it."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pandas as pd
import pytest
import yaml
from dvc.utils.flatten import flatten
from dvc.utils.hydra import apply_overrides

from pipeline.common.config import Params, Recipe
from tests.project import ROOT, default_params, get
from tools.schema import schema

TEXT = (ROOT / "params.yaml").read_text()
LISTED = flatten(default_params())


def test_the_default_recipe_lists_every_key_and_the_others_what_they_change() -> None:
    content = default_params()
    name, first = next(iter(content["recipes"].items()))
    assert name == content["recipe"]
    assert flatten(first).keys() == flatten(Recipe.model_validate(first).model_dump()).keys()
    page = (ROOT / "docs/changing.md").read_text()
    # A key that is not listed would need a + before it.
    settings = re.findall(r"[` ']recipes\.tutorial\.([\w.]+)=(?:\{([^}]*)\})?", page)
    assert len(settings) > 15
    for key, inner in settings:
        for name in re.findall(r"(\w+):", inner) or [""]:
            get(content["recipes"]["tutorial"], f"{key}.{name}".rstrip("."))


def promises() -> dict[str, str]:
    """Return what the comments behind the keys allow, as conditions for x, by dotted keys."""
    found = {}
    path: list[str] = []
    for line in TEXT.splitlines():
        if match := re.match(r"( *)(\w+):(.*)", line):
            indent, name, comment = match.groups()
            path[len(indent) // 2 :] = [name]
            if ranges := re.findall(r"(\d+) (?:to|or) (\d+)", comment):
                found[".".join(path)] = "{} <= x <= {}".format(*ranges[-1])
            elif limits := re.search(r"(\d+ <=? )\w+( <=? \d+)|[;,]( >=? \d+)", comment):
                low, high, least = limits.groups("")
                found[".".join(path)] = f"{low}x{high}{least}"
    return found


@pytest.mark.parametrize(("key", "condition"), promises().items())
def test_a_comment_promises_what_is_allowed(key: str, condition: str) -> None:
    content = default_params()
    section, _, name = key.rpartition(".")
    holder = get(content, section) if section else content
    # With smaller images, their size has to fit the network.
    content["recipes"]["airbench_small"]["augmentation"]["small_image_fraction"] = 0.0
    if section == "dataset":
        # The other one has no such key.
        holder["name"] = "folder"
    for x in {int(n) + step for n in re.findall(r"\d+", condition) for step in (-1, 0, 1)}:
        holder[name] = x
        if pd.eval(condition, local_dict={"x": x}):
            Params.model_validate(content)
        else:
            with pytest.raises(ValueError, match=name):
                Params.model_validate(content)


def other(value: Any) -> Any:
    """Return another value of the same kind and, in params.yaml, of the same length."""
    if isinstance(value, list):
        return [*value[:-1], other(value[-1])]
    if value is None or isinstance(value, bool):
        return "0.5" if value is None else str(not value).lower()
    if isinstance(value, str):
        return f"{value[:-1]}x"
    return value + 1 if isinstance(value, int) else round(value * 2 + 0.01, 3)


def test_dvc_changes_the_lines_of_the_keys_and_nothing_else(folder: Path) -> None:
    """By what `dvc exp run -S KEY=VALUE` uses; the file is in the form that DVC itself writes."""
    Path("params.yaml").write_text(TEXT)
    apply_overrides("params.yaml", [f"seed={LISTED['seed']}"])
    assert Path("params.yaml").read_text() == TEXT
    apply_overrides("params.yaml", [f"{key}={other(value)}" for key, value in LISTED.items()])
    text = Path("params.yaml").read_text()
    changed = flatten(yaml.safe_load(text))
    assert [*changed] == [*LISTED]
    assert [key for key, value in LISTED.items() if changed[key] == value] == []
    for before, after in zip(TEXT.splitlines(), text.splitlines(), strict=True):
        assert re.split("[:-] ", before)[0] == re.split("[:-] ", after)[0]
        assert before.partition("  # ")[2] == after.partition("  # ")[2]


@pytest.mark.parametrize("key", [key for key, value in LISTED.items() if isinstance(value, list)])
def test_dvc_writes_a_list_of_another_length(folder: Path, key: str) -> None:
    """Where a comment stands behind a list's key, DVC would join two later lines for `[]`."""
    for length in (0, 1):
        value = LISTED[key][:length]
        Path("params.yaml").write_text(TEXT)
        apply_overrides("params.yaml", [f"{key}={value}"])
        text = Path("params.yaml").read_text()
        assert flatten(yaml.safe_load(text)) == LISTED | {key: value}
        assert text.count("#") == TEXT.count("#")


# --- the schema, by which editors complete and check the file -------------------------------------


def test_the_schema_is_current_and_found_by_editors() -> None:
    file = ROOT / "params.schema.json"
    assert json.loads(file.read_text()) == schema(), f"python -m tools.schema > {file.name}"
    assert TEXT.startswith(f"# yaml-language-server: $schema={file.name}\n")
    jsonschema.validate(default_params(), schema())
    editor = jsonschema.Draft7Validator(schema())
    assert not editor.is_valid(default_params() | {"seed": -1})
    assert not editor.is_valid(default_params() | {"colour": 1})
