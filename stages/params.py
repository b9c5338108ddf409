"""Reads params.yaml and checks it against the typed parameters that each stage keeps beside it."""

import difflib
from collections.abc import Iterable
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from stages.errors import InputError, in_one_line

PATH = Path("params.yaml")
TOP_LEVEL = (
    *("seed", "device", "devices", "precision", "recipe", "recipes"),
    *("fetch", "preprocess", "evaluate", "plots"),
)
Device = Literal["auto", "cpu", "gpu"]
# None stands for all that there are.
Devices = Annotated[int, Field(ge=1, le=1000)] | None
Precision = Literal["auto", "float32", "bfloat16"]

# Above these, TensorFlow and Python themselves end in errors of their own.
Count = Annotated[int, Field(ge=1, le=100_000)]
CountOrNone = Annotated[int, Field(ge=0, le=100_000)]
Positive = Annotated[float, Field(gt=0, le=1e30)]
NotNegative = Annotated[float, Field(ge=0, le=1e30)]
Share = Annotated[float, Field(ge=0, lt=1)]


def increasing(numbers: list[Any]) -> list[Any]:
    """Return the numbers; raise a ValueError where one does not exceed the one before."""
    if numbers != sorted(set(numbers)):
        raise ValueError("each should be greater than the one before")
    return numbers


class Section(BaseModel):
    """Base of every section: no unknown key, no silent conversion, no NaN or infinity."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def read(key: str, schema: Any) -> Any:
    """Return the value of `key` in params.yaml, checked.

    Args:
        key: dotted path, for example `recipes.tutorial`.
        schema: a `Section` or any other type that pydantic checks.

    Raises:
        InputError: the file is not YAML, a top-level key is unknown, the key is missing, or its
            value does not fit; the message names the key, the value and what is allowed.
    """
    value = document()
    for part in key.split("."):
        if not isinstance(value, dict) or part not in value:
            raise InputError(f"{PATH}: {on_one_line(key)}: missing")
        value = value[part]
    try:
        return TypeAdapter(schema).validate_python(value, strict=True)
    except ValidationError as error:
        raise InputError(f"{PATH}: {explain(key, schema, error)}") from None


def document() -> dict[str, Any]:
    """Return the whole of params.yaml, unchecked but for the names of its top-level keys.

    It is parsed as DVC parses it, by the same library: with another, `seed: 010` would be recorded
    as 10 (YAML 1.2) and used as 8 (YAML 1.1).
    """
    try:
        content = YAML(typ="safe").load(PATH.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{PATH}: missing; run in the folder that holds dvc.yaml") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{PATH}: not UTF-8 at byte {error.start}") from None
    except MarkedYAMLError as error:
        # It gives a problem, a context or both.
        mark, problem = error.problem_mark or error.context_mark, error.problem or error.context
        where = f"line {mark.line + 1}, column {mark.column + 1}"
        raise InputError(f"{PATH}: not valid YAML at {where}: {in_one_line(problem)}") from None
    # A date of month 13, an integer of 5,000 digits, 2,000 brackets, `!!bool x`.
    except (YAMLError, ValueError, LookupError, OverflowError, RecursionError) as error:
        raise InputError(f"{PATH}: not valid YAML: {in_one_line(error)}") from None
    if not isinstance(content, dict):
        raise InputError(
            f"{PATH}: found {content!r}; allowed is a mapping of {', '.join(TOP_LEVEL)}"
        )
    for name in content:
        if name not in TOP_LEVEL:
            raise InputError(f"{PATH}: {on_one_line(name)}: {unknown(name, TOP_LEVEL)}")
    return content


def on_one_line(key: object) -> str:
    """Return a key as it stands, or escaped where a character of it does not print."""
    return str(key) if str(key).isprintable() else ascii(str(key))


def explain(key: str, schema: Any, error: ValidationError) -> str:
    """Put the first problem that pydantic found, and the keys of the others, into one line."""
    first, *others = error.errors(include_url=False)
    keys, section = find(schema, first["loc"])
    where = on_one_line(".".join([key, *keys]))
    if first["type"] == "extra_forbidden":
        says = unknown(keys[-1], section.model_fields)
        line = f"{where} = {first['input']!r}: {says}"
    elif first["type"] == "missing":
        line = f"{where}: missing"
    elif first["type"] == "union_tag_not_found":
        line = f"{where}.name: missing"
    elif first["type"] == "union_tag_invalid":
        allowed = first["ctx"]["expected_tags"]
        line = f"{where}.name = {first['input']['name']!r}: allowed are {allowed}"
    elif first["type"] in ("model_type", "model_attributes_type"):
        # Pydantic would name the class.
        line = f"{where} = {first['input']!r}: should be a mapping"
    else:
        reason = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
        line = f"{where} = {first['input']!r}: {reason}"
    more = [on_one_line(".".join(find(schema, other["loc"])[0])) for other in others]
    return f"{line} (and {len(more)} more: {', '.join(more)})" if more else line


def unknown(key: object, allowed: Iterable[str]) -> str:
    """Say that there is no such key, which one may have been meant, and which there are."""
    meant = difflib.get_close_matches(str(key), allowed, n=1)
    hint = f"did you mean {meant[0]}? " if meant else ""
    return f"unknown key; {hint}allowed are {', '.join(allowed)}"


def find(schema: Any, location: tuple[str | int, ...]) -> tuple[list[str], Any]:
    """Return the keys that lead to a problem, as in the file, and the section of the last one.

    Pydantic's own location also names the member of a union by which it judged.
    """
    keys, section = [], schema
    for step in location:
        if isinstance(schema, UnionType):
            members = {name_of(member): member for member in get_args(schema)}
            schema = members.get(step)
            continue
        keys.append(str(step))
        section, fields = schema, getattr(schema, "model_fields", {})
        schema = fields[step].annotation if step in fields else None
    return keys, section


def name_of(section: Any) -> object:
    """Return the value of `name` by which a section is chosen among several; None without one."""
    fields = getattr(section, "model_fields", {})
    return get_args(fields["name"].annotation)[0] if "name" in fields else None
