"""The stage evaluate: its metrics, tables and what it prints, on answers made by hand."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from stages import arrays
from stages import device as device  # First, since TensorFlow reads what it sets.
from stages.cifar10 import CLASSES
from stages.errors import InputError
from stages.evaluate.__main__ import main
from stages.evaluate.params import EvaluateParams
from stages.params import read
from tests.project import Params, put, write_params

import keras  # isort: skip

# Actual and predicted class, and in 1024ths the probabilities of the predicted one, of the actual
# one and, once, of a third. Of cat, dog and frog one measure each is a third.
ANSWERS = [
    ("cat", "cat", 1024, 1024, None),
    ("cat", "cat", 617, 617, ("bird", 407)),
    ("cat", "dog", 512, 256, ("ship", 256)),
    ("dog", "dog", 513, 513, ("cat", 511)),
    ("frog", "dog", 768, 256, None),
    ("frog", "frog", 769, 769, ("truck", 255)),
    ("ship", "bird", 1024, 0, None),
]
# Without augmentation, two of seven are right, the third and the sixth.
PLAIN = ("ship", "dog", "cat", "ship", "cat", "frog", "bird")

PREDICTIONS = """\
index,actual,predicted,confidence
0,cat,cat,1.000000
1,cat,cat,0.602539
2,cat,dog,0.500000
3,dog,dog,0.500977
4,frog,dog,0.750000
5,frog,frog,0.750977
6,ship,bird,1.000000
"""
# Four bins: up to 0.5 there is image 2, up to 0.75 there are 1, 3 and 4, above 0, 5 and 6.
CALIBRATION = """\
confidence,accuracy,count
0.500000,0.000000,1
0.617839,0.666667,3
0.916992,0.666667,3
"""
CORRUPTIONS = """\
corruption,accuracy
none,0.285714
jpeg_50,0.571429
noise_8,0.000000
"""
# Precision, recall, F1, images.
SCORES = {
    "cat": (1.0, 0.666667, 0.8, 3),
    "dog": (0.333333, 1.0, 0.5, 1),
    "frog": (1.0, 0.5, 0.666667, 2),
    "ship": (0.0, 0.0, 0.0, 1),
}


def answers() -> tuple[np.ndarray, np.ndarray]:
    """Return the probabilities with augmentation and without, float32 (7, 10) both."""
    probabilities, plain = np.zeros((2, 7, 10), np.float32)
    for row, (actual, predicted, highest, right, third) in zip(probabilities, ANSWERS, strict=True):
        row[CLASSES.index(actual)] = right
        row[CLASSES.index(predicted)] = highest
        if third:
            row[CLASSES.index(third[0])] = third[1]
    plain[range(7), [CLASSES.index(name) for name in PLAIN]] = 1
    return probabilities / 1024, plain


@pytest.fixture
def images(folder: Path) -> np.ndarray:
    """Return the test images, which are in data/processed with their labels; touch the model."""
    images = np.random.default_rng(0).integers(0, 256, (7, 32, 32, 3), np.uint8)
    labels = [CLASSES.index(actual) for actual, *_ in ANSWERS]
    arrays.save("test", images, np.array(labels, np.uint8))
    Path("models").mkdir()
    Path("models/model.keras").touch()
    return images


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Let the model return `answers`; return a list of what it is asked."""
    asked: list[tuple[Any, ...]] = []

    def infer(*arguments: Any) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
        asked.append(arguments)
        probabilities, plain = answers()
        # Under the first corruption four of seven are right, under the second none.
        others = [probabilities, np.roll(probabilities, 3, axis=0)]
        return probabilities, plain, others[: len(arguments[-1])]

    monkeypatch.setattr("stages.evaluate.inference.infer", infer)
    return asked


@pytest.fixture
def settings(params: Params) -> Params:
    """Return parameters that differ from the project's, in params.yaml."""
    params["device"] = "cpu"
    params["evaluate"] = {
        "batch_size": 3,
        "tta": "flip",
        "calibration_bins": 4,
        "corruptions": ["jpeg_50", "noise_8"],
    }
    write_params(Path(), params)
    return params


@pytest.mark.usefixtures("images", "asked", "settings")
def test_metrics_by_hand(call: Callable[..., None]) -> None:
    call(main)
    # A probability of 0 counts as the least by which a float32 just below 1 differs from it.
    shares = [617 / 1024, 1 / 4, 513 / 1024, 1 / 4, 769 / 1024, 2.0**-23]
    # Wilson's interval in closed form.
    n, p, z = 7, 4 / 7, NormalDist().inv_cdf(0.975)
    centre, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = ((centre + side) / (1 + z * z / n) for side in (-half, half))
    distance = [512, abs(617 + 513 + 768 - 2 * 1024), 1024 + 769 + 1024 - 2 * 1024]
    expected = {
        "accuracy": 0.571429,
        "accuracy_low": round(low, 6),
        "accuracy_high": round(high, 6),
        "accuracy_without_tta": 0.285714,
        "corruption_accuracy": 0.285714,
        "expected_calibration_error": round(sum(distance) / 1024 / 7, 6),
        "loss": round(-sum(map(math.log, shares)) / 7, 6),
        "macro_f1": round((0.8 + 0.5 + 2 / 3) / 10, 6),
        "corruptions": [
            {"corruption": "none", "accuracy": 0.285714},
            {"corruption": "jpeg_50", "accuracy": 0.571429},
            {"corruption": "noise_8", "accuracy": 0.0},
        ],
        "per_class": [
            dict(zip(("class", "precision", "recall", "f1", "images"), row, strict=True))
            for row in ((name, *SCORES.get(name, (0.0, 0.0, 0.0, 0))) for name in CLASSES)
        ],
    }
    assert Path("metrics/evaluate.json").read_text() == json.dumps(expected, indent=2) + "\n"


@pytest.mark.usefixtures("images", "asked", "settings")
def test_without_corruptions_there_is_no_mean_of_them(
    call: Callable[..., None], settings: Params
) -> None:
    settings["evaluate"]["corruptions"] = []
    write_params(Path(), settings)
    call(main)
    metrics = json.loads(Path("metrics/evaluate.json").read_text())
    assert "corruption_accuracy" not in metrics
    assert metrics["corruptions"] == [{"corruption": "none", "accuracy": 0.285714}]


@pytest.mark.usefixtures("images", "asked", "settings")
def test_tables_by_hand(call: Callable[..., None]) -> None:
    call(main)
    assert Path("plots/predictions.csv").read_text() == PREDICTIONS
    assert Path("plots/calibration.csv").read_text() == CALIBRATION
    assert Path("plots/corruptions.csv").read_text() == CORRUPTIONS
    written = [str(path) for folder in ("plots", "metrics") for path in Path(folder).iterdir()]
    assert sorted(written) == [
        "metrics/evaluate.json",
        "plots/calibration.csv",
        "plots/corruptions.csv",
        "plots/predictions.csv",
    ]


@pytest.mark.usefixtures("images", "asked", "settings")
def test_what_is_printed(
    call: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    recwarn: pytest.WarningsRecorder,
) -> None:
    call(main)
    # Some classes have no image, or are never predicted.
    assert not [w for w in recwarn if "ill-defined" in str(w.message)]
    metrics = json.loads(Path("metrics/evaluate.json").read_text())
    low, high, loss = (metrics[name] for name in ("accuracy_low", "accuracy_high", "loss"))
    interval = f"95 % interval {low:.4f} to {high:.4f}"
    expected = f"test accuracy 0.5714 (tta flip), {interval}; loss {loss:.4f}\n"
    assert capsys.readouterr().out == expected


@pytest.mark.usefixtures("settings")
def test_what_the_model_is_asked(
    call: Callable[..., None], images: np.ndarray, asked: list[tuple[Any, ...]]
) -> None:
    call(main)
    ((path, given, *others),) = asked
    assert path == Path("models/model.keras")
    assert others == ["flip", 3, "cpu", ["jpeg_50", "noise_8"]]
    np.testing.assert_allclose(given, images / 255, rtol=1e-6)


@pytest.mark.usefixtures("settings")
def test_a_real_model(call: Callable[..., None], images: np.ndarray) -> None:
    """Each colour of the left half speaks for one class; averaged are both halves."""
    weights = np.zeros((32, 32, 3, 10), np.float32)
    for colour in range(3):
        weights[:, :16, colour, colour] = 0.01
    shown = keras.Input((32, 32, 3))
    answer = keras.layers.Dense(10, activation="softmax")(keras.layers.Flatten()(shown))
    model = keras.Model(shown, answer)
    model.set_weights([weights.reshape(-1, 10), np.zeros(10, np.float32)])
    model.save("models/model.keras")
    call(main)

    halves = images.reshape(7, 32, 2, 16, 3).sum((1, 3)) / 255 * 0.01
    logits = np.hstack([halves.mean(1), np.zeros((7, 7))])
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = np.array([3, 3, 3, 5, 6, 6, 8])
    metrics = json.loads(Path("metrics/evaluate.json").read_text())
    loss = -np.log(probabilities[range(7), labels]).mean()
    assert metrics["loss"] == pytest.approx(loss, rel=1e-5)
    lines = Path("plots/predictions.csv").read_text().splitlines()[1:]
    for line, row, label in zip(lines, probabilities, labels, strict=True):
        _, actual, predicted, confidence = line.split(",")
        assert (actual, predicted) == (CLASSES[label], CLASSES[row.argmax()])
        assert float(confidence) == pytest.approx(row.max(), abs=2e-6)


@pytest.mark.usefixtures("settings", "asked")
def test_a_missing_model_is_refused(call: Callable[..., None], images: np.ndarray) -> None:
    Path("models/model.keras").unlink()
    with pytest.raises(InputError) as error:
        call(main)
    assert str(error.value) == "models/model.keras: missing; `dvc repro train` makes it"
    assert sorted(path.name for path in Path().iterdir()) == ["data", "models", "params.yaml"]


@pytest.mark.usefixtures("settings")
def test_missing_arrays_are_refused(call: Callable[..., None]) -> None:
    with pytest.raises(InputError) as error:
        call(main)
    says = "missing; `dvc repro preprocess` makes it"
    assert str(error.value) == f"data/processed/test/images.npy: {says}"


@pytest.mark.parametrize(
    ("key", "allowed", "refused", "says"),
    [
        ("evaluate.batch_size", 1, 0, "0: Input should be greater than or equal to 1"),
        (
            "evaluate.batch_size",
            10_000,
            10_001,
            "10001: Input should be less than or equal to 10000",
        ),
        ("evaluate.calibration_bins", 1, 0, "0: Input should be greater than or equal to 1"),
        ("evaluate.calibration_bins", 100, 101, "101: Input should be less than or equal to 100"),
        (
            "evaluate.tta",
            "none",
            "mirror",
            "'mirror': Input should be 'none', 'flip' or 'flip_translate'",
        ),
        (
            "evaluate.corruptions",
            ["noise_20", "blur_0.6"],
            ["jpeg_50", "jpeg_50"],
            "['jpeg_50', 'jpeg_50']: each should be there once",
        ),
        ("device", "auto", "tpu", "'tpu': Input should be 'auto', 'cpu' or 'gpu'"),
    ],
)
@pytest.mark.usefixtures("images", "asked")
def test_parameters_are_checked(
    call: Callable[..., None], settings: Params, key: str, allowed: Any, refused: Any, says: str
) -> None:
    put(settings, key, allowed)
    write_params(Path(), settings)
    call(main)
    put(settings, key, refused)
    write_params(Path(), settings)
    with pytest.raises(InputError) as error:
        call(main)
    assert str(error.value) == f"params.yaml: {key} = {says.replace('Input ', '')}"


def test_the_projects_parameters_fit(params: Params) -> None:
    assert read("evaluate", EvaluateParams).model_dump() == params["evaluate"]
