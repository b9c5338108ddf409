"""Any edit of any key of params.yaml: accepted by the schema, or refused in one line."""

import os
import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages.errors import InputError
from stages.evaluate.params import EvaluateParams
from stages.fetch.params import FetchParams
from stages.params import read
from stages.plots.params import PlotsParams
from stages.preprocess.params import PreprocessParams
from stages.train.params import Seed, read_recipe
from tests.project import default_params, get

# `make soak` asks for many more.
EXAMPLES = int(os.environ.get("PARAMS_EXAMPLES", "100"))

searching = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="PARAMS_EXAMPLES" not in os.environ,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

PARAMS = default_params()
READERS = {
    "seed": lambda: read("seed", Seed),
    "fetch": lambda: read("fetch", FetchParams),
    "preprocess": lambda: read("preprocess", PreprocessParams),
    "recipe": read_recipe,
    "recipes": read_recipe,
    "evaluate": lambda: read("evaluate", EvaluateParams),
    "plots": lambda: read("plots", PlotsParams),
}


def keys(content: Any, prefix: str = "") -> list[str]:
    """Return the dotted key of everything that a stage reads by default."""
    if not isinstance(content, dict):
        return []
    found = []
    for name, value in content.items():
        key = f"{prefix}{name}"
        if not prefix and name in ("device", "devices", "precision"):
            continue
        if prefix == "recipes." and name != PARAMS["recipe"]:
            continue
        found += [key, *keys(value, f"{key}.")]
    return found


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.dates()
    | st.datetimes()
    | st.binary(max_size=20)
    | st.sampled_from(["1e-3", "0x1F", "0o17", "1_000", ".inf", "~", "yes", "2026-11-24", "<<"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=5) | st.integers() | st.none(), inner, max_size=4)
    ),
    max_leaves=8,
)


@pytest.mark.slow
@searching
@given(key=st.sampled_from(keys(PARAMS)), value=VALUES, in_flow=st.booleans())
def test_any_value_of_any_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, value: Any, in_flow: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    params = deepcopy(PARAMS)
    section, _, last = key.rpartition(".")
    holder = get(params, section) if section else params
    holder[last] = value
    Path("params.yaml").write_text(
        yaml.safe_dump(params, default_flow_style=in_flow, allow_unicode=True), encoding="utf-8"
    )
    try:
        READERS[key.split(".")[0]]()
    except InputError as error:
        message = str(error)
        assert message.isprintable(), message
        assert re.match(r"params\.yaml: ", message)
        assert key in message or "not valid YAML" in message, message


@pytest.mark.slow
@searching
@given(text=st.text() | st.text(alphabet="{}[]:,-#&*!|>'\"%@` \n\tab01"))
def test_any_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(InputError) as caught:
        read("seed", Seed)
    assert str(caught.value).isprintable(), str(caught.value)
