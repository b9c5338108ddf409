"""params.yaml as the stages read it: the whole file, before anything is computed."""

from pathlib import Path

import pytest

from tests.project import STAGES, Stage, assert_refused, default_params, put, write_params


@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_refuses_what_any_would(
    call_stage: Stage, tmp_path: Path, arrays: Path, stage: str
) -> None:
    """`arrays` hold the data that the stages want, so nothing else is wrong."""
    params = default_params()
    put(params, "recipes.resnet20.epochs", 0)
    put(params, "plots.dpi", "high")
    write_params(tmp_path, params)
    (tmp_path / "data").symlink_to(arrays / "data")
    refused = call_stage(stage, tmp_path)
    assert_refused(refused, "params.yaml: recipes.resnet20.epochs = 0: ", "(and 1 more)")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "params.yaml"]
    (tmp_path / "params.yaml").unlink()
    assert_refused(call_stage(stage, tmp_path), "params.yaml: missing; run in the folder")
