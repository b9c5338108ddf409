"""Puts what pydantic found wrong with a section of params.yaml into one line."""

import difflib
from collections.abc import Iterable
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import ValidationError


def on_one_line(key: object) -> str:
    """Return a key as it stands, or escaped where a character of it does not print."""
    return str(key) if str(key).isprintable() else ascii(str(key))


def explain(key: str, schema: Any, error: ValidationError) -> str:
    """Put the first problem that pydantic found, and the keys of the others, into one line."""
    located = [(*find(schema, found["loc"]), found) for found in error.errors(include_url=False)]
    # Of a value that is none of several types, what is wrong with the part of it says most.
    (keys, section, first), *others = [
        problem
        for problem in located
        if not any(is_below(other, problem[0]) for other, _, _ in located)
    ]
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
    more = [on_one_line(".".join(other)) for other, _, _ in others if other != keys]
    return f"{line} (and {len(more)} more: {', '.join(more)})" if more else line


def is_below(keys: list[str], parent: list[str]) -> bool:
    """Return whether keys lead to a part of what the parent's lead to."""
    return len(keys) > len(parent) and keys[: len(parent)] == parent


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
        if get_origin(schema) in (Union, UnionType):
            members = {name_of(member): member for member in get_args(schema)}
            schema = members.get(step)
            continue
        keys.append(str(step))
        section, fields = schema, getattr(schema, "model_fields", {})
        if step in fields:
            schema = fields[step].annotation
        else:
            schema = item_of(schema) if isinstance(step, int) else None
    return keys, section


def item_of(schema: Any) -> Any:
    """Return what a list's items are checked against; None where the schema is of no list."""
    if get_origin(schema) is Annotated:
        schema = get_args(schema)[0]
    return get_args(schema)[0] if get_origin(schema) is list else None


def name_of(section: Any) -> object:
    """Return the value of `name` by which a section is chosen among several; None without one."""
    fields = getattr(section, "model_fields", {})
    return get_args(fields["name"].annotation)[0] if "name" in fields else None
