"""Pictures of any kind, classified by the trained model."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stages import device as device  # First, since TensorFlow reads what it sets.
from stages.plots.pictures import grid
from stages.predict.reading import attempt, read
from stages.predict.search import files
from stages.predict.sheet import title
from tests.project import Run, assert_refused, environment_of_tests, run

import keras  # isort: skip

SIZE = (64, 64)


def gradient() -> np.ndarray:
    """Return a picture that has no symmetry: red grows to the right, green downwards."""
    row, column = np.mgrid[:64, :64].astype(np.uint8) * 4
    return np.stack([column, row, np.full_like(row, 100)], axis=-1)


def saved(folder: Path, name: str) -> Path:
    """Save the gradient in one of many forms."""
    picture = Image.fromarray(gradient())
    path = folder / name
    if name == "turned.png":
        exif = picture.getexif()
        exif[0x0112] = 6  # To be turned by 90 degrees clockwise when shown.
        picture.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)
    elif name == "wide.png":
        wide = Image.new("RGB", (128, 64), "white")
        wide.paste(picture, (32, 0))
        wide.save(path)
    elif name == "palette.gif":
        picture.quantize(256).save(path)
    elif name == "transparent.png":
        picture.putalpha(255)
        larger = Image.new("RGBA", (64, 64))
        larger.paste(picture)
        larger.save(path)
    elif name == "alpha.webp":
        picture.convert("RGBA").save(path, lossless=True)
    else:
        picture.convert("CMYK" if name == "cmyk.tif" else "RGB").save(path)
    return path


FORMS = ["plain.png", "plain.bmp", "plain.ppm", "plain.tga", "turned.png", "wide.png"]
FORMS += ["palette.gif", "transparent.png", "cmyk.tif", "alpha.webp"]


@pytest.mark.parametrize("name", FORMS)
def test_forms_of_one_picture(tmp_path: Path, name: str) -> None:
    found = read(saved(tmp_path, name))
    expected = gradient().reshape(32, 2, 32, 2, 3).mean((1, 3))
    assert found.shape == (32, 32, 3)
    assert found.dtype == np.uint8
    tolerance = 12 if name == "palette.gif" else 2
    np.testing.assert_allclose(found[1:-1, 1:-1], expected[1:-1, 1:-1], atol=tolerance)


@pytest.mark.parametrize("name", ["grey.png", "grey.tif", "grey.pgm"])
def test_sixteen_bits(tmp_path: Path, name: str) -> None:
    values = np.linspace(0, 65535, 64 * 64).reshape(SIZE).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / name)
    found = read(tmp_path / name)
    expected = (values / 257).reshape(32, 2, 32, 2).mean((1, 3))
    for channel in range(3):
        np.testing.assert_allclose(found[..., channel], expected, atol=2)


def test_what_is_transparent_is_white(tmp_path: Path) -> None:
    Image.new("RGBA", SIZE, (10, 20, 30, 0)).save(tmp_path / "clear.png")
    assert (read(tmp_path / "clear.png") == 255).all()


def test_files_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "deep/er").mkdir(parents=True)
    for name in ("b.png", "a.JPG", "deep/er/c.webp", "notes.txt", "deep/data.csv"):
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in files([tmp_path])]
    assert found == ["a.JPG", "b.png", "deep/er/c.webp"]
    assert [*files([tmp_path / "notes.txt"])] == [tmp_path / "notes.txt"]


def predict(trained: Path, folder: Path, *arguments: str) -> Run:
    model = str(trained / "models/model.keras")
    command = [sys.executable, "-m", "stages.predict", "--model", model, *arguments]
    return run(command, folder)


def test_answers_are_the_models(trained: Path, tmp_path: Path) -> None:
    """Test images as files get the predictions that evaluate made of the arrays."""
    images = np.load(trained / "data/processed/test/images.npy", allow_pickle=False)[:20]
    for number, image in enumerate((images * 255).round().astype(np.uint8)):
        Image.fromarray(image).save(tmp_path / f"{number:02}.png")
    (tmp_path / "03.png").write_bytes((tmp_path / "03.png").read_bytes()[:100])
    (tmp_path / "page.jpg").write_text("<html>")

    figure = tmp_path / "sheets/sheet.png"
    options = ["--top", "10", "--json", "--tta", "flip_translate", "--figure", str(figure)]
    result = predict(trained, tmp_path, ".", "none.png", *options)
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

    result = predict(trained, tmp_path, "00.png", "01.png", "00.png", "--top", "2", "--csv")
    assert (result.returncode, result.stderr) == (0, "")
    table = [*csv.DictReader(io.StringIO(result.stdout))]
    assert [(row["file"], row["rank"]) for row in table] == [
        (name, rank) for name in ("00.png", "01.png") for rank in "12"
    ]
    # As they are, without other views.
    plain = table[0]
    text = predict(trained, tmp_path, "00.png").stdout
    assert text.startswith(f"00.png  {plain['class']}")
    assert f"{float(plain['probability']):.1%}" in text


# One of each kind that a fuzzer found Pillow's decoders to raise, and none of them an OSError.
DAMAGED = sorted((Path(__file__).parent / "damaged_pictures").iterdir())
FORMATS = ["BMP", "DDS", "GIF", "ICNS", "IM", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "SGI"]
FORMATS += ["TGA", "TIFF", "WEBP", "AVIF", "BLP", "MSP", "SPIDER", "XBM"]
MODES = {"MSP": "1", "XBM": "1", "SPIDER": "F", "BLP": "P", "ICNS": "RGBA"}


@pytest.mark.parametrize("path", DAMAGED, ids=lambda path: path.name)
@pytest.mark.filterwarnings("ignore")
def test_damaged_picture_is_told(path: Path) -> None:
    reason = attempt(path)
    assert isinstance(reason, str)
    assert reason.isprintable()


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.filterwarnings("ignore")
def test_no_damage_ends_the_run(tmp_path: Path, name: str) -> None:
    """Bytes changed, cut and repeated at random places, the same in every run."""
    whole = io.BytesIO()
    Image.fromarray(gradient()).convert(MODES.get(name, "RGB")).save(whole, name)
    path = tmp_path / "damaged"
    generator = np.random.default_rng(0)
    for _ in range(60):
        content = bytearray(whole.getvalue())
        # Headers are where damage leads furthest.
        reach = len(content) if generator.random() < 0.3 else min(len(content), 200)
        for place in generator.integers(0, reach, generator.integers(1, 8)):
            content[place] = generator.integers(0, 256)
        if generator.random() < 0.3:
            del content[generator.integers(0, len(content)) :]
        path.write_bytes(content)
        found = attempt(path)
        assert found.isprintable() if isinstance(found, str) else found.shape == (32, 32, 3)


NAMES = ["plain.png", "price_$5_and_$10.png", "中文字.png", "new\nline.png", "esc\x1b[31m.png"]
NAMES += ["Übung.png", os.fsdecode(b"caf\xe9.png")]


def test_names_of_any_bytes(trained: Path, tmp_path: Path) -> None:
    for name in NAMES:
        Image.fromarray(gradient()).save(tmp_path / name, "PNG")
    shutil.copy(DAMAGED[0], tmp_path / os.fsdecode(b"d\xe9.blp"))
    model = str(trained / "models/model.keras")
    command = [sys.executable, "-m", "stages.predict", "--model", model, ".", "--top", "1"]
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


def test_titles_are_drawn_as_text() -> None:
    assert title("price_$5_and_$10.png") == "price_$5_and_$10.png"
    assert title(os.fsdecode(b"caf\xe9.png")) == "caf�.png"
    assert title("中é\n.png") == "�é�.png"
    assert len(title("a" * 100)) == 24
    figure = grid(np.zeros((1, 32, 32, 3)), ["$x^2$"], ["black"], "", 3, 100)
    (axes,) = figure.axes
    assert axes.title.get_parse_math() is False


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
        "import sys; from pathlib import Path; from stages.predict.search import files;"
        "print(*sorted(path.resolve() for path in files([Path('inside')])), sep='\\n')"
    )
    drop = ["setpriv", "--inh-caps=-all", "--bounding-set=-all"] if os.geteuid() == 0 else []
    result = run([*drop, sys.executable, "-c", program], tmp_path)
    found = [Path(line).relative_to(tmp_path) for line in result.stdout.splitlines()]
    (tmp_path / "locked").chmod(0o700)
    assert [*map(str, found)] == ["elsewhere/a.png", "inside/a.png", "inside/nowhere", "locked"]


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    """At once: opening a pipe would wait for who writes to it."""
    os.mkfifo(tmp_path / "pipe.png")
    assert attempt(tmp_path / "pipe.png") == "not a regular file"
    assert attempt(tmp_path) == "Is a directory"
    assert attempt(tmp_path / "none.png") == "No such file or directory"
    assert attempt(Path("a" * 300 + ".png")) == "File name too long"
    assert [*files([Path("a" * 300)])] == [Path("a" * 300)]


MEASURED = """
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from stages.predict.reading import attempt
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


def test_large_jpeg_is_read_as_a_whole_one(tmp_path: Path) -> None:
    """Its decoder shrinks it, and what comes out is nearly the mean of the same pixels."""
    picture = Image.fromarray(gradient()).resize((2400, 2400), Image.Resampling.BICUBIC)
    picture.save(tmp_path / "a.jpg", quality=95, subsampling=0)
    picture.save(tmp_path / "a.png")
    difference = read(tmp_path / "a.jpg").astype(int) - read(tmp_path / "a.png")
    assert np.abs(difference).mean() < 1
    assert np.abs(difference).max() <= 6


@pytest.mark.parametrize("kind", ["not finite", "logits", "unbuilt"])
def test_model_without_probabilities_is_refused(trained: Path, tmp_path: Path, kind: str) -> None:
    saved(tmp_path, "plain.png")
    layers = [keras.layers.Flatten(), keras.layers.Dense(10)]
    model = keras.Sequential(layers if kind == "unbuilt" else [keras.Input((32, 32, 3)), *layers])
    if kind == "not finite":
        model.add(keras.layers.Softmax())
        model.set_weights([np.full_like(weight, np.nan) for weight in model.get_weights()])
    if kind == "logits":
        model.set_weights([np.ones_like(weight) for weight in model.get_weights()])
    model.save(tmp_path / "other.keras")
    result = predict(trained, tmp_path, "plain.png", "--model", "other.keras")
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
    trained: Path, tmp_path: Path, arguments: list[str], says: str
) -> None:
    (tmp_path / "folder.png").mkdir()
    result = predict(trained, tmp_path, *arguments)
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: {says}")
    assert len(result.stderr.splitlines()) == 1
