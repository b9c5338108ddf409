"""What params.yaml may hold, and how a mistake is told."""

import math
import os
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.utils.serialize import ParseError, load_yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pipeline.common.config import Params
from pipeline.common.params import name_unused_keys, read_document, read_params
from pipeline.common.shell import UserError
from tests.project import default_params, get

LEAST = {
    "network": {"name": "resnet"},
    "optimizer": {"name": "sgd"},
    "schedule": {"name": "constant"},
    "augmentation": {},
    "batch_size": 1,
    "epochs": 100_000,
}
DOCUMENT = default_params() | {"recipe": "x", "recipes": {"x": LEAST}}
searching = settings(
    # `make soak` asks for many more.
    max_examples=int(os.environ.get("PARAMS_EXAMPLES", "200")),
    deadline=None,
    derandomize="PARAMS_EXAMPLES" not in os.environ,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def read(content: dict[str, Any] | str) -> Params:
    if not isinstance(content, str):
        content = yaml.dump(content, Dumper=yaml.CSafeDumper, sort_keys=False)
    Path("params.yaml").write_bytes(content.encode("utf-8", "surrogatepass"))
    return read_params()


def refusal(content: dict[str, Any] | str) -> str:
    with pytest.raises(UserError) as caught:
        read(content)
    message = str(caught.value)
    assert message.isprintable()
    assert message.startswith("params.yaml: ")
    return message.removeprefix("params.yaml: ")


def changed(key: str, value: Any) -> dict[str, Any]:
    content = deepcopy(DOCUMENT)
    section, _, name = key.rpartition(".")
    (get(content, section) if section else content)[name] = value
    return content


def document(**recipe: Any) -> dict[str, Any]:
    return DOCUMENT | {"recipes": {"x": LEAST | recipe}}


TWO = {"name": "tutorial", "filters": [8, 8], "pool_after": []}


# --- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("seed", -1, "seed = -1: should be greater than or equal to 0"),
        ("seed", True, "seed = True: should be a valid integer"),
        ("device", "tpu", "device = 'tpu': should be 'auto', 'cpu' or 'gpu'"),
        ("preprocess.validation_split", math.nan, "preprocess.validation_split = nan: "),
        ("preprocess", {"test_size": 0}, "preprocess.train_size: missing (and 2 more)"),
        ("fetch.sources", [["a", 3]], "fetch.sources.0.1 = 3: should be a valid string"),
        ("sede", 1, "sede = 1: unknown key; did you mean seed? allowed are seed, device"),
        ("plots.wi\u200bdth", 1, "plots.wi\\u200bdth = 1: unknown key; allowed are columns"),
        ("recipe", "y", "recipe = 'y': allowed are those of recipes: x"),
        ("recipe", "v1.5", "recipe = 'v1.5': allowed are letters, digits, _ and -; a dot"),
        ("recipes.x", None, "recipes.x = None: should be a mapping"),
        ("recipes.x.augmentation.flip", "yes", "recipes.x.augmentation.flip = 'yes': should be "),
        ("recipes.x.network", {"depth": 8}, "recipes.x.network.name = None: allowed are tut"),
        ("recipes.x.network", "resnet", "recipes.x.network = 'resnet': should be a mapping"),
        ("recipes.x.network", {"name": "vgg"}, "recipes.x.network.name = 'vgg': allowed are tut"),
        ("recipes.x.network", TWO | {"filters": [1, 2.5]}, "recipes.x.network.filters.1 = 2.5: sh"),
        ("recipes.x.network", TWO | {"pool_after": [1, 3]}, "recipes.x.network.pool_after = [1,"),
        ("recipes.x.optimizer.momentun", 0.9, "recipes.x.optimizer.momentun = 0.9: unknown key; d"),
    ],
)
def test_a_value_that_is_not_allowed(folder: Path, key: str, value: Any, says: str) -> None:
    assert refusal(changed(key, value)).startswith(says)


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.dates()
    | st.binary(max_size=9)
    | st.sampled_from(["sgd", "cpu", "1e-3", "0o17", ".inf", "~", "yes", "<<", "v1.5", "[key]"])
)
NAMES = st.text(max_size=5) | st.integers() | st.none() | st.sampled_from(["name", "colour", "x"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=8,
)
KEYS = ["seed", "recipe", "recipes", "fetch.sources", "preprocess.validation_split", "colour"]
KEYS += [f"recipes.x{key}" for key in ("", ".network", ".optimizer.name", ".schedule.colour")]


@pytest.mark.slow
@searching
@given(key=st.sampled_from(KEYS), value=VALUES)
def test_any_value_of_any_key(folder: Path, key: str, value: Any) -> None:
    """It is read, or refused in one line that names the key."""
    with suppress(UserError):
        read(changed(key, value))
        return
    line = refusal(changed(key, value))
    assert key in line or "not valid YAML" in line


@pytest.mark.slow
@searching
@given(text=st.text() | st.text(alphabet="{}[]:,-#&*!|>'\"%@` \n\tab01"))
def test_any_text(folder: Path, text: str) -> None:
    refusal(text)


# --- parts of a recipe ----------------------------------------------------------------------------


def test_keys_of_the_part_switched_off_may_stay(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They may even be wrong, since nothing reads them; but they are named."""
    without = read(document(optimizer={"name": "sgd"}))
    name_unused_keys("x")
    assert capsys.readouterr().out == ""
    optimizer = {"name": "sgd", "rho": "wrong", "kernel_momentum": 9}
    assert read(document(optimizer=optimizer)) == without
    name_unused_keys("x")
    assert capsys.readouterr().out.endswith(": rho, kernel_momentum\n")


def small_images(network: str, side: int, fraction: float, **keys: Any) -> dict[str, Any]:
    sizes = {"small_image_size": side, "small_image_fraction": fraction}
    return document(network={"name": network}, augmentation=sizes, **keys)


def test_parts_that_do_not_fit_each_other(folder: Path) -> None:
    size = "recipes.x.augmentation.small_image_size"
    assert refusal(small_images("tutorial", 24, 0.5)).startswith(f"{size} = 24: network tutorial")
    assert "at least 9 x 9 pixels" in refusal(small_images("airbench", 8, 0.5))
    read(small_images("airbench", 9, 1.0))
    read(small_images("resnet", 1, 1.0))
    # The last epoch, which may be the only one, is always one of full size.
    read(small_images("tutorial", 1, 1.0, epochs=1))
    read(small_images("tutorial", 1, 0.24, epochs=2))
    late = document(schedule={"name": "linear", "warmup_epochs": 5}, epochs=5)
    assert refusal(late).startswith("recipes.x.schedule.warmup_epochs = 5: should be less than")
    read(document(schedule={"name": "linear", "warmup_epochs": 4}, epochs=5))


# --- the file -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("seed: [1", "not valid YAML at line 1, column 9"),
        ("seed: 1\nseed: 2\n", "not valid YAML at line 2, column 1: found duplicate key"),
        ("seed: !!python/object/apply:os.getcwd []", "not valid YAML at line 1, column 7: could"),
        ("[" * 1000, "not valid YAML: maximum recursion depth exceeded"),
        ("seed: " + "9" * 5000, "not valid YAML: Exceeds the limit"),
        ("", "None: should be a mapping"),
        ("\udcff", "not UTF-8 at byte 0"),
    ],
    ids=range(7),
)
def test_damaged_file(folder: Path, text: str, says: str) -> None:
    assert refusal(text).startswith(says)


# What YAML 1.1 and 1.2 read differently, and what their parsers stumble over.
SEEDS = ["010", "0o17", "08", "1:30", "1_000", "0b11", "0X1F", "+.5", "1.", "1e3", "1E-3", "+1e-3"]
SEEDS += ["1e400", ".inf", ".NaN", "nan", "on", "yes", "y", "True", "~", "Null", "", "2026-11-24"]
SEEDS += ["=", "<<", "!!int '08'", "!!float x", "!!bool x", "!!int ''", "!foo x", "'a", "- a"]
SEEDS += ["{a: 1, a: 2}", "{<<: {a: 1}, a: 2}", "&a [*a]", "*a", "0_7", "a\r\nrecipe: on"]


def outcome(read: Callable[[], object], *refusals: type[Exception]) -> str:
    """Return what a reader makes of params.yaml; a refusal is as if there were nothing."""
    with suppress(*refusals):
        return repr(read())
    return repr(None)


@searching
@given(scalar=st.text("0123456789_.:+-eEoOxXabfnyt ~'\"#", max_size=8))
def test_the_stages_read_what_dvc_records(folder: Path, scalar: str) -> None:
    Path("params.yaml").write_text(f"seed: {scalar}\n", encoding="utf-8", newline="")
    # Of some values DVC's parser raises what DVC does not catch; then DVC ends with that.
    refusals = (ParseError, ValueError, LookupError, OverflowError, RecursionError)
    by_dvc = outcome(lambda: load_yaml("params.yaml"), *refusals)
    assert outcome(read_document, UserError) == by_dvc


for seed in SEEDS:
    test_the_stages_read_what_dvc_records = example(scalar=seed)(
        test_the_stages_read_what_dvc_records
    )
