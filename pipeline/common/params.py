"""Reads params.yaml, and says in one line what is wrong with it."""

import os
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from pipeline.common.config import CHOICES, PARTS, Params, part_classes, unused_keys
from pipeline.common.paths import PARAMS
from pipeline.common.shell import UserError, one_line

# Where pydantic's own words, by the type of a problem, would say less.
REASONS = {
    "missing": "missing",
    "string_pattern_mismatch": "allowed are letters, digits, _ and -; a dot separates keys for DVC",
    **dict.fromkeys(("model_type", "model_attributes_type", "dict_type"), "should be a mapping"),
}


def read_params() -> Params:
    """Return all parameters, checked.

    Raises:
        UserError: the file is not YAML, a key is missing or unknown, or a value does not fit; the
            message names the key, the value and what is allowed.
    """
    try:
        return Params.model_validate(read_document())
    except ValidationError as error:
        # DVC has removed the results before it started the stage. An experiment has none to lose.
        is_repro = "DVC_STAGE" in os.environ and "DVC_EXP_NAME" not in os.environ
        undo = "; with the edit undone, `dvc repro` brings the results back" if is_repro else ""
        raise UserError(f"{PARAMS}: {explain(error)}{undo}") from None


def read_document() -> Any:
    """Return params.yaml, unchecked."""
    try:
        text = PARAMS.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{PARAMS}: missing; run in the folder that holds dvc.yaml") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{PARAMS}: not UTF-8 at byte {error.start}") from None
    return parse_yaml(text, PARAMS)


def parse_yaml(text: str, name: str | Path) -> Any:
    """Return what a text holds as DVC parses it, by the same library.

    By another one, `seed: 010` would be recorded as 10 (YAML 1.2) and used as 8 (YAML 1.1).

    Raises:
        UserError: it is not YAML; the message begins with `name`.
    """
    try:
        return YAML(typ="safe").load(text)
    except MarkedYAMLError as error:
        # It has a problem, a context or both.
        mark, problem = error.problem_mark or error.context_mark, error.problem or error.context
        where = f"line {mark.line + 1}, column {mark.column + 1}"
        raise UserError(f"{name}: not valid YAML at {where}: {one_line(problem)}") from None
    # A date of month 13, an integer of 5,000 digits, 2,000 brackets, `!!bool x`.
    except (YAMLError, ValueError, LookupError, OverflowError, RecursionError) as error:
        raise UserError(f"{name}: not valid YAML: {one_line(error)}") from None


def name_unused_keys(recipe: str) -> None:
    """Print which keys of a recipe's parts have no effect, since they are of other parts."""
    parts = read_document()["recipes"][recipe]
    for kind in PARTS:
        if unused := unused_keys(kind, parts[kind]):
            part, keys = f"recipes.{recipe}.{kind}", ", ".join(unused)
            print(f"{PARAMS}: {part}: not of {parts[kind]['name']}, without effect: {keys}")


def explain(error: ValidationError) -> str:
    """Put the first problem that pydantic found, and the number of others, into one line."""
    problem, *others = error.errors(include_url=False)
    # After the key of a part, pydantic names the class by which it judged; `[key]` is no key.
    steps = ["", *map(str, problem["loc"])]
    keys = [
        step
        for before, step in pairwise(steps)
        if step != "[key]" and not (before in CHOICES and step in part_classes(before))
    ]
    given = problem["input"]
    message = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
    reason = REASONS.get(problem["type"], message)
    if problem["type"].startswith("union_tag_"):
        reason = f"allowed are {', '.join(part_classes(keys[-1]))}"
        given, keys = given.get("name"), [*keys, "name"]
    place = ".".join(map(one_line, keys))
    if not isinstance(given, dict):
        told = f"{place} = {given!r}: {reason}"
    else:
        # What config.py itself says of a section begins with the key.
        told = f"{place}{'.' if problem['type'] == 'value_error' else ': '}{reason}"
    return told.lstrip(" =.:") + (f" (and {len(others)} more)" if others else "")
