"""params.yaml: what is accepted, and the one line that names what is not."""

import sys
from pathlib import Path
from typing import Any

import pytest

from stages.params import read
from tests.project import Stage, assert_refused, default_params, put, run, write_params

# The recipe that is selected by default.
ON = "recipes.airbench_small"
# What turns the default parameters into something wrong: the stage that reads the key, the key, a
# value, and what the one line must say.
WRONG = [
    ("preprocess", "preprocess.validation_split", 1.0, "less than 1"),
    ("preprocess", "preprocess.validation_split", -0.1, "greater than or equal to 0"),
    ("preprocess", "preprocess.validation_split", float("nan"), "finite number"),
    ("preprocess", "preprocess.validation_split", "0.2", "valid number"),
    ("preprocess", "preprocess.validation_split", 0.99999, "leaves no image"),
    ("preprocess", "preprocess.train_size", 50001, "less than or equal to 50000"),
    ("preprocess", "preprocess.train_size", 1.5, "valid integer"),
    ("preprocess", "preprocess.train_size", True, "valid integer"),
    (
        "preprocess",
        "preprocess.tset_size",
        10,
        "unknown key; did you mean test_size? allowed are train_size, test_size",
    ),
    ("preprocess", "preprocess", None, "should be a mapping"),
    ("preprocess", "sede", 1, "unknown key; did you mean seed? allowed are seed, device"),
    ("preprocess", "preprocess.a\nb", 1, "unknown key; allowed are train_size, test_size"),
    ("preprocess", "se\nde", 1, "unknown key; did you mean seed? allowed are seed, device"),
    ("train", "seed", -1, "greater than or equal to 0"),
    ("train", "seed", None, "valid integer"),
    ("train", "device", "tpu", "'auto', 'cpu' or 'gpu'"),
    ("train", "device", "gpu", "no GPU is seen"),
    ("train", "devices", 0, "greater than or equal to 1"),
    ("train", "precision", "float16", "'auto', 'float32' or 'bfloat16'"),
    (
        "train",
        "recipe",
        "resnet",
        "allowed are 'tutorial', 'airbench94', 'airbench96', 'airbench_small'",
    ),
    ("train", "recipe", 3, "valid string"),
    ("train", "recipe", "v1.5", "allowed are letters, digits, _ and -"),
    ("train", f"{ON}.epochs", 10**9, "less than or equal to 100000"),
    ("train", f"{ON}.colour", 1, "unknown key; allowed are network, optimizer"),
    ("train", f"{ON}.network", "resnet", "should be a mapping"),
    ("train", f"{ON}.network.widths", [8, 8, 10**21], "widths.2 = 1000000000000000000000"),
    ("train", f"{ON}.network.widths", [24, 96], "at least 3 items"),
    ("train", f"{ON}.network.widths", [24, 96, 2.5], "widths.2 = 2.5: should be a valid"),
    ("train", f"{ON}.network.name", "vgg", "'tutorial', 'airbench', 'resnet'"),
    ("train", f"{ON}.network.colour", 0.5, "unknown key; allowed are name, widths"),
    ("train", f"{ON}.optimizer.kernel_learning_rate", 1e300, "less than or equal to 1000000"),
    ("train", f"{ON}.optimizer.kernel_learning_rate", 0, "greater than 0"),
    ("train", f"{ON}.optimizer.kernel_learning_rate", float("inf"), "finite number"),
    ("train", f"{ON}.schedule.warmup_epochs", 10, "less than epochs, 7"),
    ("train", f"{ON}.augmentation.low_resolution", 64, "less than or equal to 32"),
    ("train", f"{ON}.augmentation.low_resolution", 8, "no images below 9 x 9 pixels"),
    ("evaluate", "evaluate.batch_size", 0, "greater than or equal to 1"),
    ("evaluate", "evaluate.tta", "crop", "'none', 'flip' or 'flip_translate'"),
    ("plots", "plots.dpi", 10, "greater than or equal to 50"),
]


@pytest.mark.parametrize(("stage", "key", "value", "says"), WRONG, ids=str)
def test_wrong_value_is_refused(
    call_stage: Stage, tmp_path: Path, arrays: Path, stage: str, key: str, value: Any, says: str
) -> None:
    """`arrays` hold all the data that the stages want, so nothing else is wrong."""
    params = default_params()
    put(params, key, value)
    write_params(tmp_path, params)
    (tmp_path / "data").symlink_to(arrays / "data")
    shown = "" if "unknown key" in says or "widths.2" in says else repr(value)
    name = key if key.isprintable() else ascii(key)
    assert_refused(call_stage(stage, tmp_path), f"params.yaml: {name}", shown, says)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "params.yaml"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("seed: [1", "params.yaml: not valid YAML at line 1, column 9"),
        (
            "seed: 1\nseed: 2\n",
            'params.yaml: not valid YAML at line 2, column 1: found duplicate key "seed"',
        ),
        ("- seed", "params.yaml: found ['seed']; allowed is a mapping of seed, device"),
        ("", "params.yaml: found None"),
        ("seed: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
        ("seed: \x07", "params.yaml: not valid YAML"),
        ("seed: 1\n", "params.yaml: preprocess: missing"),
    ],
)
def test_unreadable_file_is_refused(
    call_stage: Stage, tmp_path: Path, text: str, says: str
) -> None:
    (tmp_path / "params.yaml").write_text(text)
    assert_refused(call_stage("preprocess", tmp_path), says)


def test_missing_file_is_refused(call_stage: Stage, tmp_path: Path) -> None:
    assert_refused(call_stage("preprocess", tmp_path), "params.yaml: missing; run in the folder")


def test_missing_key_is_refused(call_stage: Stage, tmp_path: Path) -> None:
    params = default_params()
    del params["preprocess"]["test_size"]
    write_params(tmp_path, params)
    assert_refused(call_stage("preprocess", tmp_path), "params.yaml: preprocess.test_size: missing")


@pytest.mark.parametrize("text", ["1e-3", "1E-3", "+1e-3", ".1e-2", "0.001", "1.0e-03"])
def test_numbers_are_read_as_dvc_reads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(f"seed: {text}\n")
    assert read("seed", float) == 0.001
    script = (
        "import sys; from dvc.utils.serialize import load_yaml; print(load_yaml('params.yaml'))"
    )
    assert run([sys.executable, "-c", script], tmp_path).stdout.strip() == "{'seed': 0.001}"
