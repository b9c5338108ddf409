"""Pictures of any kind, classified by the trained model."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stages import device as device  # First, since TensorFlow reads what it sets.
from tests.pictures import gradient
from tests.project import ROOT, Stage, assert_refused, environment_of_tests, run

import keras  # isort: skip


@pytest.fixture
def predict(trained: Path, tmp_path: Path, call_stage: Stage) -> Stage:
    """Return a function that asks the trained model about pictures in an empty folder."""
    return partial(call_stage, "predict", tmp_path, "--model", trained / "models/model.keras")


def test_answers_are_the_models(predict: Stage, trained: Path, tmp_path: Path) -> None:
    """Test images as files get the predictions that evaluate made of the arrays."""
    images = np.load(trained / "data/processed/test/images.npy", allow_pickle=False)[:20]
    for number, image in enumerate((images * 255).round().astype(np.uint8)):
        Image.fromarray(image).save(tmp_path / f"{number:02}.png")
    (tmp_path / "03.png").write_bytes((tmp_path / "03.png").read_bytes()[:100])
    (tmp_path / "page.jpg").write_text("<html>")

    figure = tmp_path / "sheets/sheet.png"
    options = ["--top", "10", "--json", "--tta", "flip_translate", "--figure", str(figure)]
    result = predict(".", "none.png", *options)
    assert result.returncode == 1
    lines = result.stderr.splitlines()
    assert [line.split(": ")[:2] for line in lines] == [
        ["unreadable", name] for name in ("03.png", "page.jpg", "none.png")
    ]
    rows = json.loads(result.stdout)
    with (trained / "plots/predictions.csv").open() as file:
        evaluated = {f"{int(row['index']):02}.png": row for row in csv.DictReader(file)}
    best = {row["file"]: row for row in rows if row["rank"] == 1}
    assert best.keys() == {f"{number:02}.png" for number in range(20) if number != 3}
    for name, row in best.items():
        assert row["class"] == evaluated[name]["predicted"]
        assert row["probability"] == pytest.approx(float(evaluated[name]["confidence"]), abs=1e-5)
        shares = [row["probability"] for row in rows if row["file"] == name]
        assert shares == sorted(shares, reverse=True)
        assert sum(shares) == pytest.approx(1, abs=1e-5)
    with Image.open(figure) as sheet:
        assert sheet.width > 6 * 150

    result = predict("00.png", "01.png", "00.png", "--top", "2", "--csv")
    assert (result.returncode, result.stderr) == (0, "")
    table = [*csv.DictReader(io.StringIO(result.stdout))]
    assert [(row["file"], row["rank"]) for row in table] == [
        (name, rank) for name in ("00.png", "01.png") for rank in "12"
    ]
    # As they are, without other views.
    plain = table[0]
    text = predict("00.png").stdout
    assert text.startswith(f"00.png  {plain['class']}")
    assert f"{float(plain['probability']):.1%}" in text


DAMAGED = ROOT / "tests/damaged_pictures/BLPFormatError.blp"
NAMES = ["plain.png", "price_$5_and_$10.png", "中文字.png", "new\nline.png", "esc\x1b[31m.png"]
NAMES += ["Übung.png", os.fsdecode(b"caf\xe9.png")]


def test_names_of_any_bytes(trained: Path, tmp_path: Path) -> None:
    for name in NAMES:
        Image.fromarray(gradient()).save(tmp_path / name, "PNG")
    shutil.copy(DAMAGED, tmp_path / os.fsdecode(b"d\xe9.blp"))
    model = str(trained / "models/model.keras")
    command = [sys.executable, "-m", "tools", "predict", "--model", model, ".", "--top", "1"]
    env = environment_of_tests(PYTHONWARNINGS="error", PYTHONIOENCODING="ascii")
    outputs = []
    for form in ([], ["--csv"], ["--json", "--figure", "sheet.pNg"]):
        result = subprocess.run([*command, *form], cwd=tmp_path, env=env, capture_output=True)
        assert result.returncode == 1
        (line,) = result.stderr.splitlines()
        assert line.startswith(b"unreadable: d\\udce9.blp: ")
        outputs.append(os.fsdecode(result.stdout))
    escaped = {"new\nline.png": "new\\nline.png", "esc\x1b[31m.png": "esc\\x1b[31m.png"}
    lines = outputs[0].splitlines()
    assert {line.split("  ")[0] for line in lines} == {escaped.get(n, n) for n in NAMES}
    for rows in (csv.DictReader(io.StringIO(outputs[1])), json.loads(outputs[2])):
        assert {row["file"] for row in rows} == set(NAMES)
    assert (tmp_path / "sheet.pNg").stat().st_size > 1000


def test_files_of_linked_and_locked_folders(tmp_path: Path) -> None:
    """A locked folder has itself in place of its files; each folder is listed once."""
    for name in ("inside", "elsewhere", "locked"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").touch()
    (tmp_path / "inside/linked").symlink_to("../elsewhere")
    (tmp_path / "inside/linked/again").symlink_to("..")
    (tmp_path / "inside/up").symlink_to("..")
    (tmp_path / "inside/dangling.png").symlink_to("nowhere")
    for name in ("._a.png", "report.pdf", "x.png.txt"):
        (tmp_path / "inside" / name).touch()
    (tmp_path / "locked").chmod(0)
    # Not as root, who may list any folder.
    program = (
        "import sys; from pathlib import Path; from tools.predict.search import files;"
        "print(*sorted(path.resolve() for path in files([Path('inside')])), sep='\\n')"
    )
    drop = ["setpriv", "--inh-caps=-all", "--bounding-set=-all"] if os.geteuid() == 0 else []
    result = run([*drop, sys.executable, "-c", program], tmp_path)
    found = [Path(line).relative_to(tmp_path) for line in result.stdout.splitlines()]
    (tmp_path / "locked").chmod(0o700)
    assert [*map(str, found)] == ["elsewhere/a.png", "inside/a.png", "inside/nowhere", "locked"]


MEASURED = """
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tools.predict.reading import attempt
def peak():
    # Not ru_maxrss, which a process inherits from the one that started it.
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
before = peak()
with ThreadPoolExecutor(6) as pool:
    found = [*pool.map(attempt, sorted(Path().glob("*.*")))]
assert len(found) == 6 and not any(isinstance(one, str) for one in found)
print((peak() - before) // 1024)
"""


@pytest.mark.parametrize(
    ("name", "settings", "megabytes"),
    [
        ("photo.jpg", {}, 60),
        ("progressive.jpg", {"progressive": True}, 400),
        ("picture.png", {"compress_level": 1}, 500),
    ],
)
def test_memory_is_bounded(
    tmp_path: Path, name: str, settings: dict[str, Any], megabytes: int
) -> None:
    """Six pictures of 49 megapixels, of which all at once took 500 MB each."""
    small = Image.fromarray(gradient())
    small.resize((7000, 7000), Image.Resampling.NEAREST).save(tmp_path / name, **settings)
    for number in range(5):
        shutil.copy(tmp_path / name, tmp_path / f"{number}{name}")
    result = run([sys.executable, "-c", MEASURED], tmp_path)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) < megabytes


@pytest.mark.parametrize("kind", ["not finite", "logits", "unbuilt"])
def test_model_without_probabilities_is_refused(predict: Stage, tmp_path: Path, kind: str) -> None:
    Image.fromarray(gradient()).save(tmp_path / "plain.png")
    layers = [keras.layers.Flatten(), keras.layers.Dense(10)]
    model = keras.Sequential(layers if kind == "unbuilt" else [keras.Input((32, 32, 3)), *layers])
    if kind == "not finite":
        model.add(keras.layers.Softmax())
        model.set_weights([np.full_like(weight, np.nan) for weight in model.get_weights()])
    if kind == "logits":
        model.set_weights([np.ones_like(weight) for weight in model.get_weights()])
    model.save(tmp_path / "other.keras")
    result = predict("plain.png", "--model", "other.keras")
    assert_refused(result, "other.keras: ")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["a.png", "--top", "0"], "--top 0: allowed are 1 to 10"),
        (["a.png", "--model", "none.keras"], "none.keras: missing"),
        (["."], ".: no pictures in there"),
        (["a.png", "--figure", "sheet.jpg"], "--figure sheet.jpg: the name must end in .png"),
        (["a.png", "--figure", "folder.png"], "--figure folder.png: a folder"),
    ],
)
def test_unusable_arguments_are_refused(
    predict: Stage, tmp_path: Path, arguments: list[str], says: str
) -> None:
    (tmp_path / "folder.png").mkdir()
    result = predict(*arguments)
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: {says}")
    assert len(result.stderr.splitlines()) == 1
