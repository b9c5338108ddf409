"""The contact sheet: its titles, heading, images and size."""

import os
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from stages.plots.pictures import grid
from tools.predict import sheet
from tools.predict.__main__ import SHEET_SIZE
from tools.predict.sheet import title, write_sheet

IMAGES = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8)
PATHS = [Path(f"folder/{name}.png") for name in "abcdefgh"]
CLASSES = ["cat", "dog", "bird", "deer", "frog", "ship", "truck", "horse"]
SHARES = [0.0625, 1, 0.5, 0.999, 0.9996, 0, 0.25, 0.75]


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Figure, Path, int]]:
    """Return a list of the figures that are saved, of their files and resolutions."""
    written: list[tuple[Figure, Path, int]] = []
    monkeypatch.setattr(sheet, "save", lambda *arguments: written.append(arguments))
    return written


def test_titles_are_drawn_as_text() -> None:
    assert title("price_$5_and_$10.png") == "price_$5_and_$10.png"
    assert title(os.fsdecode(b"caf\xe9.png")) == "caf�.png"
    assert title("中é\n.png") == "�é�.png"
    assert len(title("a" * 100)) == 24
    figure = grid(np.zeros((1, 32, 32, 3)), ["$x^2$"], ["black"], "", 3, 100)
    (axes,) = figure.axes
    assert axes.title.get_parse_math() is False


def test_the_first_letters_of_a_name_are_its_title() -> None:
    assert title("abcdefghijklmnopqrstuvwxyz") == "abcdefghijklmnopqrstuvwx"


def test_each_image_has_its_name_class_and_share(
    written: list[tuple[Figure, Path, int]],
) -> None:
    write_sheet(Path("sheet.png"), PATHS, IMAGES, CLASSES, SHARES)
    ((figure, file, dpi),) = written
    assert (file, dpi) == (Path("sheet.png"), 150)
    assert [text.get_text() for text in figure.texts] == ["8 pictures"]
    assert [axes.get_title() for axes in figure.axes] == [
        "a.png\ncat 6.2%",
        "b.png\ndog 100.0%",
        "c.png\nbird 50.0%",
        "d.png\ndeer 99.9%",
        "e.png\nfrog 100.0%",
        "f.png\nship 0.0%",
        "g.png\ntruck 25.0%",
        "h.png\nhorse 75.0%",
    ]
    assert {axes.title.get_color() for axes in figure.axes} == {"black"}
    for axes, image in zip(figure.axes, IMAGES, strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), image)


def test_six_images_are_in_a_row(written: list[tuple[Figure, Path, int]]) -> None:
    write_sheet(Path("sheet.png"), PATHS, IMAGES, CLASSES, SHARES)
    corners = [np.round(axes.get_position().min, 9).tolist() for axes in written[0][0].axes]
    lefts, bottoms = map(list, zip(*corners, strict=True))
    assert lefts[:6] == sorted({*lefts})
    assert lefts[6:] == lefts[:2]
    upper, lower = {*bottoms[:6]}, {*bottoms[6:]}
    assert len(upper) == len(lower) == 1
    assert lower.pop() < upper.pop()


@pytest.mark.parametrize(
    ("paths", "images", "heading"),
    [
        (0, 0, "0 pictures"),
        (1, 1, "1 picture"),
        (2, 2, "2 pictures"),
        (1234, 2, "First 2 pictures"),
    ],
)
def test_the_heading_says_how_many(
    written: list[tuple[Figure, Path, int]], paths: int, images: int, heading: str
) -> None:
    """Of more than there are images of, only the first are shown."""
    write_sheet(
        Path("sheet.png"), PATHS[:1] * paths, IMAGES[:images], ["cat"] * paths, [0.5] * paths
    )
    ((figure, _, _),) = written
    assert [text.get_text() for text in figure.texts] == [heading]
    assert len(figure.axes) == images


def test_thousands_have_commas(
    written: list[tuple[Figure, Path, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    headings: list[str] = []
    monkeypatch.setattr(sheet, "grid", lambda *arguments: headings.append(arguments[3]))
    for images in (1234, 1200):
        blank = np.zeros((images, 32, 32, 3), np.uint8)
        write_sheet(Path("sheet.png"), PATHS[:1] * 1234, blank, ["cat"] * 1234, [0.5] * 1234)
    assert headings == ["1,234 pictures", "First 1,200 pictures"]


def test_a_sheet_is_a_file_of_whole_pixels(tmp_path: Path) -> None:
    """Of 192 for an image, and so much for gaps, titles and heading, at 150 per inch."""
    file = tmp_path / "new/sheet.png"
    write_sheet(file, PATHS, IMAGES, CLASSES, SHARES)
    with Image.open(file) as found:
        assert found.format == "PNG"
        assert found.info["dpi"] == pytest.approx((150, 150), abs=0.02)
        pixels = np.asarray(found.convert("RGB"))
    assert pixels.shape == (2 * 255 + 63, 6 * 228, 3)
    # Each pixel of an image is a square of 6 by 6.
    rows = [top for top in range(300) if (pixels[top, 18:210:6] == IMAGES[0, 0]).all()]
    assert len(rows) == 6
    square = pixels[rows[0] : rows[0] + 192, 18:210]
    np.testing.assert_array_equal(square, IMAGES[0].repeat(6, 0).repeat(6, 1))


def test_the_longest_sheet_can_be_drawn(written: list[tuple[Figure, Path, int]]) -> None:
    """Matplotlib draws no more than 65,535 pixels in one direction."""
    assert SHEET_SIZE == 1200
    for count in (6, 7):
        write_sheet(
            Path("sheet.png"), PATHS[:count], IMAGES[:count], CLASSES[:count], SHARES[:count]
        )
    one, two = (figure.get_size_inches()[1] * dpi for figure, _, dpi in written)
    rows = -(-SHEET_SIZE // 6)
    assert one + (two - one) * (rows - 1) < 65_536
