"""What the stages read in params.yaml is what DVC reads and records, or both refuse it."""

from pathlib import Path

import pytest
from dvc.utils.serialize import ParseError, load_yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from stages.errors import InputError
from stages.params import document

REFUSED = "refused"
SCALARS = [
    # Octal in YAML 1.1 or in neither, or sexagesimal.
    *("010", "0400", "0123", "0o17", "0o9", "-0o17", "08", "0", "00", "-010", "+010"),
    *("1:30", "190:20:30", "190:20:30.15", "1_000", "0b11", "0x1F", "0x1f", "0X1F"),
    # Floats.
    *("+.5", "-.5", ".5", "1.", "1e3", "1E3", "1e-3", ".1e-2", "+1e-3", "1.0e-03", "1e400"),
    *(".inf", "-.inf", ".Inf", ".nan", ".NaN", "inf", "nan", "1e", "e5", "0.1.2"),
    # Booleans of YAML 1.1, and nothing.
    *("on", "off", "yes", "no", "y", "n", "Yes", "ON", "true", "True", "TRUE", "false"),
    *("~", "null", "Null", "NULL", "none", "None", ""),
    # Dates, tags, markers and damage.
    *("2026-11-24", "2026-13-45", "2026-11-24 10:00:00", "=", "<<", "!!int '08'", "!!float x"),
    *(
        "!!str 010",
        "!!bool x",
        "!!int ''",
        "!!float ''",
        "!!binary x",
        "!foo x",
        "'010'",
        '"1e3"',
        "'a",
        "- a",
        "\ta",
        "\x07",
    ),
    *("[" * 1000, "9" * 5000, "&a [*a]", "*a", "{a: 1, a: 2}", "{<<: {a: 1}, a: 2}"),
]


def read_by(reader: str) -> str:
    """Return what one of both reads as the value of `seed`, with its type, or REFUSED."""
    try:
        content = document() if reader == "stages" else load_yaml("params.yaml")
    except InputError:
        return REFUSED
    # Of some values its parser raises what DVC does not catch; then DVC ends with that.
    except (ParseError, ValueError, LookupError, OverflowError, RecursionError):
        return REFUSED
    return repr(content["seed"])


@pytest.mark.parametrize(
    "scalar", SCALARS, ids=[ascii(text)[:20].replace("\\", "/") for text in SCALARS]
)
def test_scalar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scalar: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(f"seed: {scalar}\n", encoding="utf-8")
    assert read_by("stages") == read_by("dvc")


@pytest.mark.parametrize(
    "text",
    ["%YAML 1.1\n---\nseed: 010\n", "seed: &a 010\nrecipe: *a\n", "seed: 1\r\nrecipe: on\r\n"],
)
def test_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(text, encoding="utf-8", newline="")
    assert read_by("stages") == read_by("dvc") != REFUSED


@settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(scalar=st.text("0123456789_.:+-eEoOxXabfnyt ~'\"#", max_size=8))
@example(scalar="0_7")
def test_any_scalar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scalar: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(f"seed: {scalar}\n", encoding="utf-8")
    assert read_by("stages") == read_by("dvc")


def test_recipe_called_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text("recipe: on\nrecipes:\n  on: {keep: last}\n")
    assert document() == {"recipe": "on", "recipes": {"on": {"keep": "last"}}}
