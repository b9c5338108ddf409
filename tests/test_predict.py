"""Pictures classified by the command, with a model of other classes and another side."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import chdir
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.special import softmax

from stages.train import save_model
from tests.project import ROOT, Stage, assert_refused, environment_of_tests, printed, run

import keras

CLASSES = ("zebra", "gnu", "emu")
SIDE = 8
Pictures = Callable[..., np.ndarray]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of a model that has no symmetry."""
    weights = np.random.default_rng(0).normal(0, 0.3, (SIDE * SIDE * 3, len(CLASSES)))
    layers = [keras.layers.Flatten(), keras.layers.Dense(len(CLASSES), "softmax", use_bias=False)]
    model = keras.Sequential([keras.Input((SIDE, SIDE, 3)), *layers])
    model.set_weights([weights])
    folder = tmp_path_factory.mktemp("model")
    with chdir(folder):
        save_model(model, CLASSES)
    return folder / "models/model.keras"


@pytest.fixture
def predict(model: Path, tmp_path: Path, call_stage: Stage) -> Stage:
    """Return a function that asks the model about pictures in an empty folder."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models/model.keras").symlink_to(model)
    return partial(call_stage, "predict", tmp_path)


@pytest.fixture
def pictures(tmp_path: Path) -> Pictures:
    """Return a function that saves random pictures by these names and returns their pixels."""

    def saved(*names: str) -> np.ndarray:
        generator = np.random.default_rng(len(names))
        pixels = generator.integers(0, 256, (len(names), SIDE, SIDE, 3), np.uint8)
        for name, image in zip(names, pixels, strict=True):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(tmp_path / name, "PNG")
        return pixels

    return saved


def probabilities(model: Path, pixels: np.ndarray) -> np.ndarray:
    """Return what Keras itself says of arrays."""
    loaded = keras.saving.load_model(model, compile=False, safe_mode=True)
    return loaded.predict(pixels.astype(np.float32) / 255, verbose=0)


def test_answers_are_keras_s_own(
    predict: Stage, pictures: Pictures, model: Path, tmp_path: Path
) -> None:
    """Of more pictures than are read at a time, one of them damaged."""
    names = [f"{number:04}.png" for number in range(1002)]
    pixels = pictures(*names)
    (tmp_path / names.pop(500)).write_bytes(b"\x89PNG")
    pixels = np.delete(pixels, 500, axis=0)
    both = [probabilities(model, view) for view in (pixels, pixels[:, :, ::-1])]
    expected = softmax(np.log(both).mean(axis=0), axis=1)

    result = predict(".", "--json", "--tta", "flip")
    assert result.returncode == 1
    assert result.stderr.startswith("unreadable: 0500.png: not recognized as one of JPEG, ")
    rows = json.loads(result.stdout)
    order = np.argsort(-expected, axis=1)
    assert [row["file"] for row in rows] == [*np.repeat(names, 3)]
    assert [row["rank"] for row in rows] == [1, 2, 3] * 1001
    assert [row["class"] for row in rows] == [*np.array(CLASSES)[order.ravel()]]
    found = np.reshape([row["probability"] for row in rows], (-1, 3))
    np.testing.assert_allclose(found, np.take_along_axis(expected, order, axis=1), atol=1e-5)


def test_forms_of_the_answers(predict: Stage, pictures: Pictures, model: Path) -> None:
    """In the order of the arguments; a file that is named twice once."""
    names = ("b.png", 'a "x",\n.png')
    shares = probabilities(model, pictures(*names))
    expected = [
        (name, CLASSES[index], row[index])
        for name, row in zip(names, shares, strict=True)
        for index in np.argsort(-row)[:2]
    ]
    forms = ((), ("--csv",), ("--json",))
    runs = [predict(*names, names[0], "--top", "2", *form) for form in forms]
    assert {(run.returncode, run.stderr) for run in runs} == {(0, "")}
    plain, table, rows = (run.stdout for run in runs)
    for found in ([*csv.DictReader(io.StringIO(table, newline=""))], json.loads(rows)):
        assert [(row["file"], row["class"]) for row in found] == [row[:2] for row in expected]
        numbers = [float(row["probability"]) for row in found]
        assert numbers == pytest.approx([row[2] for row in expected], abs=1e-5)
    words = [word for _, name, share in expected for word in (name, f"{share:.1%}")]
    assert plain.split() == ["b.png", *words[:4], "a", '"x",\\n.png', *words[4:]]


def test_nothing_that_can_be_read(predict: Stage) -> None:
    header = "file,rank,class,probability\n"
    for form, expected in (([], ""), (["--csv"], header), (["--json"], "[]\n")):
        result = predict("a.png", "b.pdf", *form, "--figure", "sheet.png")
        assert (result.returncode, result.stdout) == (1, expected)
        told = [line.split(": ")[:2] for line in result.stderr.splitlines()]
        assert told == [["unreadable", "a.png"], ["unreadable", "b.pdf"]]


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_folder_of_class_folders_has_an_accuracy(
    predict: Stage, pictures: Pictures, model: Path, form: list[str]
) -> None:
    folders = ["zebra", "zebra/deep", "gnu", "old/emu"] * 10
    names = [f"in/{folder}/{number}.png" for number, folder in enumerate(folders)]
    best = probabilities(model, pictures(*names, "in/1.png", "in/ape/1.png")).argmax(axis=1)
    actual = [next(part for part in name.split("/") if part in CLASSES) for name in names]
    pairs = [(a, CLASSES[index]) for a, index in zip(actual, best, strict=False)]
    wrong = Counter(pair for pair in pairs if pair[0] != pair[1])

    result = predict("in", *form)
    assert result.returncode == 0
    accuracy, confused = (result.stderr if form else result.stdout).splitlines()[-2:]
    assert accuracy.startswith(f"accuracy {1 - wrong.total() / 40:.2%}, 95 % interval ")
    assert accuracy.endswith(", 40 pictures")
    first = confused.removeprefix("confused most: ").split(", ")[0]
    a, b, count = first.replace(" as ", " ").split()
    assert int(count) == wrong[a, b] == max(wrong.values())
    # The name of a folder that is an argument itself may be by chance.
    assert "accuracy" not in predict("in/zebra", "in/gnu/2.png").stdout


def test_names_of_any_bytes(pictures: Pictures, model: Path, tmp_path: Path) -> None:
    """In a process of its own, whose standard output has an encoding."""
    names = ["price_$5_and_$10.png", "中文字.png", "new\nline.png", "esc\x1b[31m.png"]
    names += ["Übung.png", os.fsdecode(b"caf\xe9.png")]
    pictures(*names)
    damaged = ROOT / "tests/damaged_pictures/RuntimeError.avif"
    shutil.copy(damaged, tmp_path / os.fsdecode(b"d\xe9.avif"))
    command = [sys.executable, "-m", "tools.predict", "--model", str(model), ".", "--top", "1"]
    env = environment_of_tests(PYTHONWARNINGS="error", PYTHONIOENCODING="ascii")
    command += ["--figure", "sheet.pNg"]
    result = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True)
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith(b"unreadable: d\\udce9.avif: ")
    told = {line.split("  ")[0] for line in os.fsdecode(result.stdout).splitlines()}
    assert told == {name.replace("\n", "\\n").replace("\x1b", "\\x1b") for name in names}
    assert (tmp_path / "sheet.pNg").stat().st_size > 1000


def test_the_contact_sheet(predict: Stage, tmp_path: Path) -> None:
    """Each picture as it is, in the order of the answers, six in a row."""
    colours = ["red", "lime", "blue", "cyan", "magenta", "yellow", "maroon"]
    for number, colour in enumerate(colours):
        Image.new("RGB", (300, 200), colour).save(tmp_path / f"{number}.png")
    printed(predict(".", "--figure", "new/sheet.PNG"))
    with Image.open(tmp_path / "new/sheet.PNG") as sheet:
        assert sheet.format == "PNG"
        pixels = np.asarray(sheet.convert("RGB"))
    rows = []
    for place in (150, 400):
        row = pixels[place]
        starts = np.flatnonzero((row[1:] != row[:-1]).any(axis=1)) + 1
        # Every second change of colour begins a picture; the others begin the white between two.
        rows.append([tuple(row[start].tolist()) for start in starts[::2]])
    expected = [Image.new("RGB", (1, 1), colour).getpixel((0, 0)) for colour in colours]
    assert rows == [expected[:6], expected[6:]]


def test_a_model_without_probabilities_is_refused(
    predict: Stage, pictures: Pictures, tmp_path: Path
) -> None:
    pictures("a.png")
    layers = [keras.layers.Flatten(), keras.layers.Dense(3)]
    (tmp_path / "models/model.keras").unlink()
    with chdir(tmp_path):
        save_model(keras.Sequential([keras.Input((SIDE, SIDE, 3)), *layers]), CLASSES)
    assert_refused(predict("a.png", "--tta", "flip_translate"), "models/model.keras: ")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["a.png", "--top", "0"], "--top 0: "),
        (["empty", "folder.png"], "empty, folder.png: no pictures in there"),
        (["a.png", "--figure", "sheet.jpg"], "--figure sheet.jpg: "),
        (["a.png", "--figure", "folder.png"], "--figure folder.png: "),
    ],
)
def test_unusable_arguments_are_refused(
    predict: Stage, tmp_path: Path, arguments: list[str], says: str
) -> None:
    """Before the model is read."""
    for name in ("empty", "folder.png"):
        (tmp_path / name).mkdir()
    (tmp_path / "models/model.keras").unlink()
    assert_refused(predict(*arguments), says)


def test_answers_that_cannot_be_written(pictures: Pictures, model: Path, tmp_path: Path) -> None:
    """That is told, also where a picture cannot be read."""
    pictures("a.png")
    (tmp_path / "b.png").touch()
    script = f"'{sys.executable}' -m tools.predict . --model '{model}' > /dev/full"
    assert_refused(run(["sh", "-c", script], tmp_path), "No space left on device")
