"""What a user tries first: one idea of docs/changing.md, appended to `dvc exp run`."""

import csv
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
from dvc.utils.hydra import apply_overrides

from pipeline.common.params import read_params
from tests.project import ROOT, Params, Stage, small_params, write_params

KEY = "recipes.tutorial"
# What stands behind -S in the page's table.
IDEAS = [
    shlex.split(command)[1]
    for command in re.findall(
        r"^\|.*\| `(-S .*)` \|$", (ROOT / "docs/changing.md").read_text(), re.M
    )
]


@pytest.fixture
def params(arrays: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """Return a small params.yaml whose recipe is the tutorial, and go to its folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(arrays / "data")
    params = small_params(arrays) | {"recipe": "tutorial"}
    write_params(tmp_path, params)
    return params


def test_each_idea_of_the_page_is_another_allowed_recipe(tmp_path: Path) -> None:
    assert len(IDEAS) > 15
    seen = set()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        for idea in IDEAS:
            shutil.copy(ROOT / "params.yaml", "params.yaml")
            # As `dvc exp run -S` does it.
            apply_overrides("params.yaml", [idea])
            seen.add(read_params().recipes["tutorial"].model_dump_json())
        shutil.copy(ROOT / "params.yaml", "params.yaml")
        plain = read_params().recipes["tutorial"].model_dump_json()
    assert len({*seen, plain}) == len(IDEAS) + 1


def test_another_seed_is_another_training(
    params: Params, call_stage: Stage, tmp_path: Path
) -> None:
    """Without dropout, which draws by itself."""
    still = [f"{KEY}.network.{key}=0" for key in ("dropout", "dense_dropout")]
    histories = []
    for seed in (0, 1):
        apply_overrides("params.yaml", [*still, f"seed={seed}"])
        assert call_stage("train", tmp_path).returncode == 0
        histories.append(Path("plots/history.csv").read_text())
    assert histories[0] != histories[1]


@pytest.mark.parametrize(
    ("settings", "rates"),
    [
        ([f"{KEY}.optimizer.name=adamw", f"{KEY}.schedule.warmup_epochs=1"], [0.001 / 4, 0.001]),
        ([f"{KEY}.network.name=resnet", f"{KEY}.optimizer.name=muon"], [0.05, 0.05]),
        (
            [
                f"+{KEY}.optimizer={{name: sgd, learning_rate: 0.02, nesterov: true}}",
                f"{KEY}.schedule.name=cosine",
                f"{KEY}.augmentation={{flip: random, noise: 0.03, jpeg_fraction: 0.25}}",
                f"{KEY}.temperature_scaling=true",
            ],
            [0.02, 0.01],
        ),
    ],
)
def test_several_ideas_at_once_are_trained(
    params: Params, call_stage: Stage, tmp_path: Path, settings: list[str], rates: list[float]
) -> None:
    apply_overrides("params.yaml", settings)
    run = call_stage("train", tmp_path)
    assert run.returncode == 0, run.stderr
    with open("plots/history.csv") as file:
        history = list(csv.DictReader(file))
    assert [float(row["learning_rate"]) for row in history] == pytest.approx(rates, 1e-4)
    metrics = json.loads(Path("metrics/train.json").read_text())
    (facts,) = metrics["training"]
    assert facts.get("temperature", 1) != 1 or "temperature" not in str(settings)
