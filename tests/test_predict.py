"""Pictures of any kind, classified by the trained model."""

import csv
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stages.predict.reading import read
from stages.predict.search import files
from tests.project import Run, run

SIZE = (64, 64)


def gradient() -> np.ndarray:
    """Give a picture that has no symmetry: red grows to the right, green downwards."""
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


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["a.png", "--top", "0"], "--top 0: allowed are 1 to 10"),
        (["a.png", "--model", "none.keras"], "none.keras: missing"),
        (["."], ".: no pictures in there"),
    ],
)
def test_unusable_arguments_are_refused(
    trained: Path, tmp_path: Path, arguments: list[str], says: str
) -> None:
    result = predict(trained, tmp_path, *arguments)
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: {says}")
    assert len(result.stderr.splitlines()) == 1
