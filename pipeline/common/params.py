"""Reads params.yaml, and says in one line what is wrong with it."""

import difflib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from pipeline.common.config import CHOICES, PARTS, Params, Section, part_classes, unused_keys
from pipeline.common.paths import PARAMS
from pipeline.common.shell import UserError, one_line


def read_params() -> Params:
    """Return all parameters, checked.

    Raises:
        UserError: the file is not YAML, a key is missing or unknown, or a value does not fit; the
            message names the key, the value and what is allowed.
    """
    document = read_document()
    try:
        return Params.model_validate(document)
    except ValidationError as error:
        # DVC has removed the results before it started the stage. An experiment has none to lose.
        is_repro = "DVC_STAGE" in os.environ and "DVC_EXP_NAME" not in os.environ
        undo = "; with the edit undone, `dvc repro` brings the results back" if is_repro else ""
        raise UserError(f"{PARAMS}: {explain(error)}{undo}") from None


def read_document() -> dict[str, Any]:
    """Return params.yaml, unchecked."""
    try:
        text = PARAMS.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{PARAMS}: missing; run in the folder that holds dvc.yaml") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{PARAMS}: not UTF-8 at byte {error.start}") from None
    document = parse_yaml(text, PARAMS)
    if not isinstance(document, dict):
        allowed = ", ".join(Params.model_fields)
        raise UserError(f"{PARAMS}: found {document!r}; allowed is a mapping of {allowed}")
    return document


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
    """Put the first problem that pydantic found, and the keys of the others, into one line."""
    problems: dict[tuple[str, ...], str] = {}
    for problem in error.errors(include_url=False):
        keys, section = follow(problem)
        problems.setdefault(keys, describe(".".join(keys), section, problem))
    # Of a value that is none of several types, what is wrong inside of it says most.
    first, *others = [
        keys for keys in problems if not any(o[: len(keys)] == keys != o for o in problems)
    ]
    more = one_line(", ".join(map(".".join, others)))
    return f"{problems[first]} (and {len(others)} more: {more})" if others else problems[first]


def follow(problem: ErrorDetails) -> tuple[tuple[str, ...], Iterable[str]]:
    """Return the keys that lead to a problem in the file, and those allowed beside the last."""
    keys: list[str] = []
    allowed: Iterable[str] = ()
    schema: Any = Params
    for step in problem["loc"]:
        if step == "[key]" and problem["type"].startswith("string_"):
            # It is the key before that is wrong.
            break
        if isinstance(schema, str):
            # Pydantic names the part by which it judged; in the file, that is no key.
            schema = part_classes(schema)[str(step)]
        elif isinstance(schema, type) and issubclass(schema, Section):
            keys.append(str(step))
            allowed = schema.model_fields
            field = schema.model_fields.get(str(step))
            schema = step if step in CHOICES else field and field.annotation
        elif get_origin(schema) is dict:
            keys.append(str(step))
            schema = get_args(schema)[1]
        elif isinstance(step, int):
            keys.append(str(step))
    return tuple(keys), allowed


def describe(key: str, allowed: Iterable[str], problem: ErrorDetails) -> str:
    """Say what is wrong with the value of a key, and what is allowed."""
    where, given = one_line(key), problem["input"]
    match problem["type"]:
        case "missing":
            return f"{where}: missing"
        case "union_tag_not_found":
            return f"{where}.name: missing"
        case "union_tag_invalid":
            tags = problem["ctx"]["expected_tags"]
            return f"{where}.name = {given['name']!r}: allowed are {tags}"
        case "extra_forbidden":
            reason = unknown(problem["loc"][-1], allowed)
        case "model_type" | "model_attributes_type" | "dict_type":
            reason = "should be a mapping"
        case "string_pattern_mismatch":
            reason = "allowed are letters, digits, _ and -; a dot separates keys for DVC"
        case "value_error" if isinstance(given, dict):
            # What two values of a section have to do with each other names them itself.
            reason = problem["msg"].removeprefix("Value error, ")
            return f"{where}.{reason}" if key else reason
        case _:
            reason = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return f"{where} = {given!r}: {reason}"


def unknown(key: object, allowed: Iterable[str]) -> str:
    """Say that there is no such key, which one may have been meant, and which there are."""
    meant = difflib.get_close_matches(str(key), allowed, n=1)
    hint = f"did you mean {meant[0]}? " if meant else ""
    return f"unknown key; {hint}allowed are {', '.join(allowed)}"
