"""Reads params.yaml and checks it against the typed parameters that each stage keeps beside it."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from stages.errors import InputError, in_one_line
from stages.problems import explain, on_one_line, unknown

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
CountOrZero = Annotated[int, Field(ge=0, le=100_000)]
Positive = Annotated[float, Field(gt=0, le=1e30)]
NotNegative = Annotated[float, Field(ge=0, le=1e30)]
Share = Annotated[float, Field(ge=0, lt=1)]
Part = Annotated[float, Field(gt=0, le=1)]


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
