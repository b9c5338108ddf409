"""What params.yaml may hold, and the whole line that names what it may not."""

import io
import re
from pathlib import Path
from typing import Any

import pytest

from stages.errors import InputError
from stages.evaluate.params import EvaluateParams
from stages.fetch.params import FetchParams
from stages.params import TOP_LEVEL, Device, Devices, Precision, document, read
from stages.plots.params import PlotsParams
from stages.preprocess.params import PreprocessParams
from stages.train.params import RecipeName
from tests.project import ROOT, Params, default_params, put, write_params

SCHEMAS: dict[str, Any] = {
    "device": Device,
    "devices": Devices,
    "precision": Precision,
    "fetch": FetchParams,
    "preprocess": PreprocessParams,
    "evaluate": EvaluateParams,
    "plots": PlotsParams,
}
KEYS = "seed, device, devices, precision, recipe, recipes, fetch, preprocess, evaluate, plots"
INTEGER = "should be a valid integer"


def refusal(key: str, schema: Any) -> str:
    """Return the message by which a value is refused."""
    with pytest.raises(InputError) as caught:
        read(key, schema)
    return str(caught.value)


# The lowest and the highest value of each number, and the refused ones beyond.
BOUNDS = [
    ("fetch.attempts", 1, 20, (0, "greater than or equal to 1"), (21, "less than or equal to 20")),
    (
        "fetch.stall_seconds",
        5e-324,
        600.0,
        (0.0, "greater than 0"),
        (600.1, "less than or equal to 600"),
    ),
    ("fetch.minimum_rate", 1, 10**15, (0, "greater than or equal to 1"), None),
    ("fetch.maximum_bytes", 1, 10**15, (0, "greater than or equal to 1"), None),
    (
        "preprocess.train_size",
        1,
        50_000,
        (0, "greater than or equal to 1"),
        (50_001, "less than or equal to 50000"),
    ),
    (
        "preprocess.test_size",
        1,
        10_000,
        (0, "greater than or equal to 1"),
        (10_001, "less than or equal to 10000"),
    ),
    (
        "preprocess.validation_split",
        0.0,
        0.9999999999999999,
        (-5e-324, "greater than or equal to 0"),
        (1.0, "less than 1"),
    ),
    (
        "evaluate.batch_size",
        1,
        10_000,
        (0, "greater than or equal to 1"),
        (10_001, "less than or equal to 10000"),
    ),
    (
        "evaluate.calibration_bins",
        1,
        100,
        (0, "greater than or equal to 1"),
        (101, "less than or equal to 100"),
    ),
    ("plots.columns", 3, 12, (2, "greater than or equal to 3"), (13, "less than or equal to 12")),
    ("plots.rows", 1, 12, (0, "greater than or equal to 1"), (13, "less than or equal to 12")),
    ("plots.dpi", 50, 400, (49, "greater than or equal to 50"), (401, "less than or equal to 400")),
]


@pytest.mark.parametrize(
    ("key", "low", "high", "below", "above"), BOUNDS, ids=[row[0] for row in BOUNDS]
)
def test_bounds(
    params: Params,
    key: str,
    low: float,
    high: float,
    below: tuple[float, str],
    above: tuple[float, str] | None,
) -> None:
    section, _, name = key.partition(".")
    for allowed in (low, high):
        params[section][name] = allowed
        write_params(Path(), params)
        assert getattr(read(section, SCHEMAS[section]), name) == allowed
    for wrong, says in filter(None, (below, above)):
        params[section][name] = wrong
        write_params(Path(), params)
        refused = refusal(section, SCHEMAS[section])
        assert refused == f"params.yaml: {key} = {wrong!r}: should be {says}"


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("device", "tpu", "device = 'tpu': should be 'auto', 'cpu' or 'gpu'"),
        ("device", None, "device = None: should be 'auto', 'cpu' or 'gpu'"),
        ("devices", 0, "devices = 0: should be greater than or equal to 1"),
        ("devices", "all", "devices = 'all': should be a valid integer"),
        (
            "precision",
            "float16",
            "precision = 'float16': should be 'auto', 'float32' or 'bfloat16'",
        ),
        (
            "evaluate.tta",
            "flips",
            "evaluate.tta = 'flips': should be 'none', 'flip' or 'flip_translate'",
        ),
        ("plots.dpi", 70.0, f"plots.dpi = 70.0: {INTEGER}"),
        ("plots.dpi", True, f"plots.dpi = True: {INTEGER}"),
        ("plots.dpi", "a\nb", f"plots.dpi = 'a\\nb': {INTEGER}"),
        ("fetch.stall_seconds", "20", "fetch.stall_seconds = '20': should be a valid number"),
        (
            "preprocess.validation_split",
            float("nan"),
            "preprocess.validation_split = nan: should be a finite number",
        ),
        (
            "fetch.sources",
            [],
            "fetch.sources = []: List should have at least 1 item after validation, not 0",
        ),
        ("fetch.sources", "a.tar.gz", "fetch.sources = 'a.tar.gz': should be a valid list"),
        ("plots", [6, 4, 100], "plots = [6, 4, 100]: should be a mapping"),
        ("evaluate", None, "evaluate = None: should be a mapping"),
        ("plots.width", 2, "plots.width = 2: unknown key; allowed are columns, rows, dpi"),
        (
            "plots.wi\ndth",
            "x",
            "'plots.wi\\ndth' = 'x': unknown key; allowed are columns, rows, dpi",
        ),
    ],
)
def test_value_that_does_not_fit(params: Params, key: str, value: Any, says: str) -> None:
    put(params, key, value)
    write_params(Path(), params)
    section = key.partition(".")[0]
    assert refusal(section, SCHEMAS[section]) == f"params.yaml: {says}"


def test_own_validator_says_what_is_allowed(folder: Path) -> None:
    Path("params.yaml").write_text("recipe: v1.5\n")
    assert refusal("recipe", RecipeName) == (
        "params.yaml: recipe = 'v1.5': allowed are letters, digits, _ and -; "
        "a dot separates keys for DVC"
    )


@pytest.mark.parametrize(("text", "value"), [("'7'", "'7'"), ("7.0", "7.0"), ("true", "True")])
def test_value_outside_of_a_section_is_not_converted(folder: Path, text: str, value: str) -> None:
    Path("params.yaml").write_text(f"seed: {text}\n")
    assert refusal("seed", int) == f"params.yaml: seed = {value}: {INTEGER}"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"dpi": 1}, "plots.dpi = 1: should be greater than or equal to 50"),
        (
            {"dpi": 1, "rows": 0},
            "plots.rows = 0: should be greater than or equal to 1 (and 1 more: dpi)",
        ),
        (
            {"dpi": 1, "rows": 0, "width": 3},
            "plots.rows = 0: should be greater than or equal to 1 (and 2 more: dpi, width)",
        ),
    ],
)
def test_further_problems_are_named(params: Params, changes: Params, says: str) -> None:
    params["plots"] |= changes
    write_params(Path(), params)
    assert refusal("plots", PlotsParams) == f"params.yaml: {says}"


def test_several_problems_are_named(folder: Path) -> None:
    Path("params.yaml").write_text("preprocess: {train_size: 0, test_size: 0}\n")
    with pytest.raises(
        InputError, match=r"train_size = 0: .* \(and 2 more: test_size, validation_split\)$"
    ):
        read("preprocess", PreprocessParams)


def test_missing_keys(params: Params) -> None:
    del params["plots"]["dpi"], params["evaluate"]
    write_params(Path(), params)
    assert refusal("plots", PlotsParams) == "params.yaml: plots.dpi: missing"
    assert refusal("evaluate", EvaluateParams) == "params.yaml: evaluate: missing"
    assert refusal("recipes.vgg.keep", str) == "params.yaml: recipes.vgg.keep: missing"
    # What a number holds is missing, too.
    assert refusal("seed.keep", str) == "params.yaml: seed.keep: missing"
    assert refusal("recipes.a\nb.keep", str) == "params.yaml: 'recipes.a\\nb.keep': missing"


def test_dotted_key(params: Params) -> None:
    assert read("recipes.airbench94.network.widths", list[int]) == [64, 256, 256]


def test_sections_cannot_be_changed(params: Params) -> None:
    with pytest.raises(ValueError, match="frozen"):
        read("plots", PlotsParams).dpi = 70


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "seed: [1",
            "not valid YAML at line 1, column 9: expected ',' or ']', but got '<stream end>'",
        ),
        (
            "seed: 1\nseed: 2\n",
            'not valid YAML at line 2, column 1: found duplicate key "seed" with value "2" '
            '(original value: "1")',
        ),
        ("recipe: *a", "not valid YAML at line 1, column 9: found undefined alias 'a'"),
        (
            "seed: |\n  \n     a\n",
            "not valid YAML at line 3, column 6: "
            "more indented follow up line than first in a block scalar",
        ),
        (
            "seed: !!python/object/apply:os.getcwd []",
            "not valid YAML at line 1, column 7: could not determine a constructor for the tag "
            "'tag:yaml.org,2002:python/object/apply:os.getcwd'",
        ),
        (
            "seed: \x07",
            "not valid YAML: unacceptable character #x0007: special characters are not allowed in "
            '"<unicode string>", position 6',
        ),
        ("seed: 2026-13-45", "not valid YAML: month must be in 1..12"),
        ("seed: !!bool x", "not valid YAML: 'x'"),
        ("seed: !!int ''", "not valid YAML: string index out of range"),
        pytest.param("[" * 1000, "not valid YAML: maximum recursion depth exceeded", id="brackets"),
        ("- seed", f"found ['seed']; allowed is a mapping of {KEYS}"),
        ("", f"found None; allowed is a mapping of {KEYS}"),
        ("sede: 1", f"sede: unknown key; did you mean seed? allowed are {KEYS}"),
        ("3: 1", f"3: unknown key; allowed are {KEYS}"),
        ('"se\\nde": 1', f"'se\\nde': unknown key; did you mean seed? allowed are {KEYS}"),
        ('"größe": 1', f"größe: unknown key; allowed are {KEYS}"),
        ('"gr\\u200bö": 1', f"'gr\\u200b\\xf6': unknown key; allowed are {KEYS}"),
    ],
)
def test_damaged_file(folder: Path, text: str, says: str) -> None:
    Path("params.yaml").write_text(text, encoding="utf-8")
    assert refusal("seed", int) == f"params.yaml: {says}"


def test_number_too_long_for_python(folder: Path) -> None:
    Path("params.yaml").write_text("seed: " + "9" * 5000)
    message = refusal("seed", int)
    assert message.startswith("params.yaml: not valid YAML: Exceeds the limit (4300 digits)")


def test_file_that_is_not_utf_8(folder: Path) -> None:
    Path("params.yaml").write_bytes(b"seed: 1 # \xff\n")
    assert refusal("seed", int) == "params.yaml: not UTF-8 at byte 10"


def test_no_file(folder: Path) -> None:
    message = "params.yaml: missing; run in the folder that holds dvc.yaml"
    assert refusal("seed", int) == message


def test_file_is_utf_8_wherever_it_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What Python takes where no encoding is named and the locale's is ASCII.
    monkeypatch.setattr(io, "text_encoding", lambda encoding, level=2: encoding or "ascii")
    Path("params.yaml").write_bytes("recipe: größe\n".encode())
    assert document() == {"recipe": "größe"}


def test_every_key_has_a_comment() -> None:
    lines = (ROOT / "params.yaml").read_text().splitlines()
    keys = [i for i, line in enumerate(lines) if re.match(r"\s*\w+:(\s|$)", line)]
    assert len(keys) > 50
    for number in keys:
        above = lines[number - 1].strip().startswith("#")
        section = lines[number].endswith(":")
        assert "  # " in lines[number] or above or section, lines[number]


def test_top_level_keys_are_those_of_the_file() -> None:
    assert tuple(default_params()) == TOP_LEVEL
