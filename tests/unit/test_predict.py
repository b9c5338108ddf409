"""Pictures classified: what is printed, in which order, and how the command ends."""

import json
import math
import os
import threading
import time
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stages import device as device  # First, since TensorFlow reads what it sets.
from stages.cifar10 import CLASSES
from stages.errors import InputError
from stages.evaluate.inference import load_model
from tools.predict import __main__ as predict
from tools.predict import reading

import keras  # isort: skip

Answer = Callable[..., tuple[int, str, str]]

# What the model gives for black, and for red. The rest is shared by the other classes.
BLACK = {"dog": 0.375, "cat": 0.375, "frog": 0.125}
RED = {"ship": 0.5, "cat": 0.25, "truck": 0.125, "dog": 0.0625}


def shares(of: dict[str, float]) -> np.ndarray:
    """Return the probabilities of all classes."""
    rest = (1 - sum(of.values())) / (10 - len(of))
    return np.array([of.get(name, rest) for name in CLASSES])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of a model of one dense layer and softmax.

    It looks at one pixel for red, and at one on the left for blue.
    """
    weights = np.zeros((32, 32, 3, 10))
    weights[0, 0, 0] = np.log(shares(RED)) - np.log(shares(BLACK))
    weights[9, 5, 2, CLASSES.index("airplane")] = 4
    images = keras.Input((32, 32, 3))
    layer = keras.layers.Dense(10, activation="softmax")
    network = keras.Model(images, layer(keras.layers.Flatten()(images)))
    network.set_weights([weights.reshape(-1, 10), np.log(shares(BLACK))])
    path = tmp_path_factory.mktemp("model") / "model.keras"
    network.save(path)
    return path


@cache
def loaded_once(path: Path) -> keras.Model:
    """Return a model, which TensorFlow takes a while to get ready each time that it is loaded."""
    return load_model(path)


@pytest.fixture
def answer(
    folder: Path,
    model: Path,
    call: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Answer:
    """Return a function that runs the command and returns its exit code and what it printed."""
    monkeypatch.setattr(
        "stages.evaluate.inference.load_model", lambda path: loaded_once(path.resolve())
    )
    Path("models").mkdir()
    Path("models/model.keras").symlink_to(model)

    def answered(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            call(predict.main, *arguments)
        assert isinstance(ended.value.code, int)
        return ended.value.code, *capsys.readouterr()

    return answered


def paint(name: str, colour: str = "black") -> None:
    """Save a picture of one colour."""
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 50), colour).save(name)


def files_of(csv: str) -> list[str]:
    return [line.split(",")[0] for line in csv.splitlines()[1:]]


def test_a_line_for_each_picture(answer: Answer) -> None:
    paint("red.png", "red")
    paint("deep/black.png")
    code, out, err = answer(".")
    assert (code, err) == (0, "")
    assert out == (
        "deep/black.png  cat         37.5%  dog         37.5%  frog        12.5%\n"
        "red.png         ship        50.0%  cat         25.0%  truck       12.5%\n"
    )


@pytest.mark.parametrize(
    ("top", "expected"),
    [
        (1, "red.png,1,ship,0.500000\na.png,1,cat,0.375000\n"),
        (
            4,
            "red.png,1,ship,0.500000\nred.png,2,cat,0.250000\n"
            "red.png,3,truck,0.125000\nred.png,4,dog,0.062500\n"
            "a.png,1,cat,0.375000\na.png,2,dog,0.375000\n"
            "a.png,3,frog,0.125000\na.png,4,airplane,0.017857\n",
        ),
    ],
)
def test_csv(answer: Answer, top: int, expected: str) -> None:
    """Files in the order of the arguments; one that is named twice once."""
    paint("red.png", "red")
    paint("a.png")
    code, out, err = answer("red.png", "a.png", "red.png", "--csv", "--top", top)
    assert (code, out, err) == (0, f"file,rank,class,probability\n{expected}", "")


def test_json(answer: Answer) -> None:
    paint("ü,\n.png", "red")
    code, out, err = answer("ü,\n.png", "--json", "--top", 10)
    assert (code, err) == (0, "")
    first = '[\n  {\n    "file": "\\u00fc,\\n.png",\n    "rank": 1,\n    "class": "ship",\n'
    assert out.startswith(f'{first}    "probability": 0.5')
    assert out.endswith("\n  }\n]\n")
    rows = json.loads(out)
    assert [row["rank"] for row in rows] == [*range(1, 11)]
    expected = dict(zip(CLASSES, shares(RED), strict=True))
    assert {row["class"]: row["probability"] for row in rows} == pytest.approx(expected, rel=1e-5)


def test_names_in_csv_are_quoted(answer: Answer) -> None:
    paint('a "b",\n.png')
    _, out, _ = answer(".", "--csv", "--top", 1)
    assert out == 'file,rank,class,probability\n"a ""b"",\n.png",1,cat,0.375000\n'


@pytest.mark.parametrize(("tta", "logit"), [(None, 4), ("none", 4), ("flip", 2)])
def test_views_that_are_averaged(answer: Answer, tta: str | None, logit: float) -> None:
    """Blue on the left is worth 4 of the logit of an airplane, on the right nothing."""
    picture = Image.new("RGB", (32, 32))
    picture.paste("blue", (0, 0, 16, 32))
    picture.save("half.png")
    _, out, _ = answer("half.png", "--json", "--top", 10, *(["--tta", tta] if tta else []))
    odds = shares(BLACK)
    odds[0] *= math.exp(logit)
    expected = dict(zip(CLASSES, odds / odds.sum(), strict=True))
    rows = {row["class"]: row["probability"] for row in json.loads(out)}
    assert rows == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("form", "expected"),
    [([], ""), (["--csv"], "file,rank,class,probability\n"), (["--json"], "[]\n")],
)
def test_pictures_that_cannot_be_read(answer: Answer, form: list[str], expected: str) -> None:
    Path("b\n.png").write_text("<html>")
    code, out, err = answer("b\n.png", "a.png", *form)
    assert (code, out) == (1, expected)
    assert err == (
        "unreadable: b\\n.png: cannot identify image file 'b\\n.png'\n"
        "unreadable: a.png: No such file or directory\n"
    )


def test_what_can_be_read_is_answered_all_the_same(answer: Answer) -> None:
    paint("b.png", "red")
    paint("d.png")
    code, out, err = answer("a.png", "b.png", "c.png", "d.png", "--top", 1)
    assert (code, out) == (1, "b.png  ship        50.0%\nd.png  cat         37.5%\n")
    missing = "No such file or directory"
    assert err == f"unreadable: a.png: {missing}\nunreadable: c.png: {missing}\n"


def test_groups_of_pictures_give_the_same(answer: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two each, the second of which holds one that cannot be read, and the third no other."""
    colours = ["red", "black", "black", None, None, None, "red"]
    names = [f"{number}.png" for number in range(7)]
    for name, colour in zip(names, colours, strict=True):
        if colour:
            paint(name, colour)
    at_once = answer(*names, "--csv")
    monkeypatch.setattr(predict, "BATCH_SIZE", 2)
    in_groups = answer(*names, "--csv")
    assert in_groups == at_once
    best = [line for line in in_groups[1].splitlines() if ",1," in line]
    assert best == [
        "0.png,1,ship,0.500000",
        "1.png,1,cat,0.375000",
        "2.png,1,cat,0.375000",
        "6.png,1,ship,0.500000",
    ]
    assert [line.split(": ")[1] for line in in_groups[2].splitlines()] == names[3:6]


def test_threads_read_at_the_same_time_and_keep_the_order(
    answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = threading.Barrier(2)

    def slow(path: Path) -> np.ndarray | str:
        together.wait(5)
        # The first one is read last.
        time.sleep(0.05 if path.name == "b.png" else 0)
        return reading.attempt(path)

    monkeypatch.setattr(predict, "attempt", slow)
    paint("b.png", "red")
    paint("a.png")
    _, out, _ = answer("b.png", "a.png", "--top", 1)
    assert out == "b.png  ship        50.0%\na.png  cat         37.5%\n"


def test_what_decoders_print_is_not_shown(
    folder: Path,
    model: Path,
    call: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def noisy(path: Path) -> np.ndarray | str:
        os.write(2, b"libpng warning\n")
        return reading.attempt(path)

    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "2")
    monkeypatch.setattr(predict, "attempt", noisy)
    paint("a.png")
    with pytest.raises(SystemExit):
        call(predict.main, "a.png", "none.png", "--model", model)
    assert capfd.readouterr().err == "unreadable: none.png: No such file or directory\n"


def test_what_pillow_warns_of_is_not_shown(answer: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    paint("a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40 * 50 - 1)
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        reading.attempt(Path("a.png"))
        assert len(shown) == 1
        answer("a.png")
        assert len(shown) == 1


def test_a_model_without_probabilities_is_refused(folder: Path, call: Callable[..., None]) -> None:
    images = keras.Input((32, 32, 3))
    layers = keras.layers.Dense(10)(keras.layers.Flatten()(images))
    keras.Model(images, layers).save("logits.keras")
    paint("a.png")
    with pytest.raises(InputError) as error:
        call(predict.main, "a.png", "--model", "logits.keras")
    says = "gives no class probabilities; expected are 0 to 1, in sum 1"
    assert str(error.value) == f"logits.keras: {says}"


@pytest.fixture
def sheets(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """Return a list of what is drawn on contact sheets."""
    sheets: list[tuple[object, ...]] = []
    monkeypatch.setattr("tools.predict.sheet.write_sheet", lambda *drawn: sheets.append(drawn))
    return sheets


@pytest.mark.parametrize("form", ["--csv", "--json"])
def test_the_contact_sheet(answer: Answer, sheets: list[tuple[object, ...]], form: str) -> None:
    """Of what can be read: the likeliest class of each, also where more are printed."""
    paint("b.png", "red")
    paint("a.png")
    code, _, _ = answer("b.png", "none.png", "a.png", form, "--figure", "new/sheet.PNG")
    assert code == 1
    ((file, paths, classes, probabilities),) = sheets
    assert (file, paths) == (Path("new/sheet.PNG"), [Path("b.png"), Path("a.png")])
    assert classes == ["ship", "cat"]
    assert probabilities == pytest.approx([0.5, 0.375])


def test_a_contact_sheet_is_of_all_batches(
    answer: Answer, sheets: list[tuple[object, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predict, "BATCH_SIZE", 2)
    names = [f"{number}.png" for number in range(5)]
    for number, name in enumerate(names):
        paint(name, f"rgb(0,{number},0)")
    answer(*names, "--figure", "sheet.png")
    ((_, paths, classes, probabilities),) = sheets
    assert paths == [Path(name) for name in names]
    assert classes == ["cat"] * 5
    assert probabilities == pytest.approx([0.375] * 5)


def test_a_contact_sheet_of_nothing_is_written(answer: Answer) -> None:
    code, out, _ = answer("none.png", "--figure", "sheet.png")
    assert (code, out) == (1, "")
    with Image.open("sheet.png") as sheet:
        assert sheet.format == "PNG"


def test_without_a_figure_no_file_is_written(answer: Answer) -> None:
    paint("a.png")
    answer("a.png")
    assert sorted(path.name for path in Path().iterdir()) == ["a.png", "models"]
