"""The stage train, up to where TensorFlow starts."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from stages import arrays
from stages.errors import InputError
from stages.train.__main__ import main
from tests.project import Params, write_params

Splits = dict[str, tuple[np.ndarray, np.ndarray]]
MODULE = "stages.train.run"


def test_the_recipe_is_trained_on_the_arrays(
    params: Params, processed: Splits, call: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the test images nothing is read."""
    for path in Path("data/processed/test").iterdir():
        path.unlink()
    given: list[Any] = []
    monkeypatch.setitem(sys.modules, MODULE, SimpleNamespace(run=lambda *a: given.extend(a)))
    params |= {"seed": 5, "device": "cpu", "devices": 3, "precision": "bfloat16"}
    params["recipe"] = "tutorial"
    write_params(Path(), params)
    call(main)
    name, recipe, seed, wanted, *splits, precision, devices = given
    assert name == "tutorial"
    assert recipe.model_dump() == params["recipes"]["tutorial"]
    assert (seed, wanted, precision, devices) == (5, "cpu", "bfloat16", 3)
    for (images, labels), name in zip(splits, ("train", "validation"), strict=True):
        np.testing.assert_array_equal(images, (processed[name][0] / 255).astype(np.float32))
        np.testing.assert_array_equal(labels, processed[name][1])


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"seed": -1}, "params.yaml: seed = -1: should be greater than or equal to 0"),
        ({"device": "tpu"}, "params.yaml: device = 'tpu': should be 'auto', 'cpu' or 'gpu'"),
        (
            {"precision": 32},
            "params.yaml: precision = 32: should be 'auto', 'float32' or 'bfloat16'",
        ),
        (
            {"recipe": "a", "recipes": {"a": {}}},
            "params.yaml: recipes.a.network: missing "
            "(and 4 more: optimizer, schedule, batch_size, epochs)",
        ),
        (
            {"evaluate": {}},
            "params.yaml: evaluate.batch_size: missing "
            "(and 3 more: tta, calibration_bins, corruptions)",
        ),
        (
            {"plots": {"columns": 6, "rows": 0, "dpi": 100}},
            "params.yaml: plots.rows = 0: should be greater than or equal to 1",
        ),
        ({}, "data/processed/train/images.npy: missing; `dvc repro preprocess` makes it"),
    ],
)
def test_what_is_wrong_is_told_before_tensorflow_starts(
    params: Params,
    call: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    changed: dict[str, object],
    says: str,
) -> None:
    # What is None cannot be imported.
    monkeypatch.setitem(sys.modules, MODULE, None)
    write_params(Path(), params | changed)
    with pytest.raises(InputError) as caught:
        call(main)
    assert str(caught.value) == says


def test_missing_validation_images_are_told_before_tensorflow_starts(
    params: Params, processed: Splits, call: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, MODULE, None)
    arrays.save("validation", *(array[:0] for array in processed["validation"]))
    params["recipes"]["airbench_small"]["patience"] = 2
    write_params(Path(), params)
    with pytest.raises(InputError) as caught:
        call(main)
    assert str(caught.value) == (
        "params.yaml: recipes.airbench_small.patience = 2: needs validation images; "
        "preprocess.validation_split is too small"
    )
