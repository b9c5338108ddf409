"""The contact sheet: its titles, heading, images and size."""

import os
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from stages.errors import InputError
from stages.plots.pictures import grid
from tools.predict import sheet
from tools.predict.sheet import MOST, images_of, title, write_sheet

PIXELS = np.random.default_rng(0).integers(0, 256, (8, 192, 192, 3), np.uint8)
CLASSES = ["cat", "dog", "bird", "deer", "frog", "ship", "truck", "horse"]
SHARES = [0.0625, 1, 0.5, 0.999, 0.9996, 0, 0.25, 0.75]


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return pictures of random pixels, as many and as large as the sheet shows them."""
    folder = tmp_path_factory.mktemp("pictures")
    paths = [folder / f"{name}.png" for name in "abcdefgh"]
    for path, pixels in zip(paths, PIXELS, strict=True):
        Image.fromarray(pixels).save(path)
    return paths


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
    written: list[tuple[Figure, Path, int]], paths: list[Path]
) -> None:
    write_sheet(Path("sheet.png"), paths, CLASSES, SHARES)
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
    for axes, image in zip(figure.axes, PIXELS, strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), image)


def test_six_images_are_in_a_row(
    written: list[tuple[Figure, Path, int]], paths: list[Path]
) -> None:
    write_sheet(Path("sheet.png"), paths, CLASSES, SHARES)
    corners = [np.round(axes.get_position().min, 9).tolist() for axes in written[0][0].axes]
    lefts, bottoms = map(list, zip(*corners, strict=True))
    assert lefts[:6] == sorted({*lefts})
    assert lefts[6:] == lefts[:2]
    upper, lower = {*bottoms[:6]}, {*bottoms[6:]}
    assert len(upper) == len(lower) == 1
    assert lower.pop() < upper.pop()


@pytest.mark.parametrize(
    ("count", "most", "heading"),
    [
        (0, 9, "0 pictures"),
        (1, 9, "1 picture"),
        (2, 2, "2 pictures"),
        (8, 2, "First 2 pictures"),
    ],
)
def test_the_heading_says_how_many(
    written: list[tuple[Figure, Path, int]],
    paths: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    count: int,
    most: int,
    heading: str,
) -> None:
    """Of more than the sheet holds, only the first are shown."""
    monkeypatch.setattr(sheet, "MOST", most)
    write_sheet(Path("sheet.png"), paths[:count], CLASSES[:count], SHARES[:count])
    ((figure, _, _),) = written
    assert [text.get_text() for text in figure.texts] == [heading]
    assert len(figure.axes) == min(count, most)


def test_thousands_have_commas(paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    headings: list[str] = []
    monkeypatch.setattr(sheet, "grid", lambda *arguments: headings.append(arguments[3]))
    monkeypatch.setattr(sheet, "save", lambda *arguments: None)
    for count in (1200, 1234):
        write_sheet(Path("sheet.png"), paths[:1] * count, ["cat"] * count, [0.5] * count)
    assert headings == ["1,200 pictures", "First 1,200 pictures"]


def test_pictures_are_shown_themselves(tmp_path: Path) -> None:
    """Of a large one the middle square, of a CIFAR-10 image squares of 6 by 6."""
    large = np.zeros((384, 500, 3), np.uint8)
    large[:, 58:442] = PIXELS[0].repeat(2, 0).repeat(2, 1)
    small = PIXELS[1, :32, :32]
    for name, pixels in (("large", large), ("small", small)):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    found = images_of([tmp_path / "large.png", tmp_path / "small.png"])
    expected = np.stack([PIXELS[0], small.repeat(6, 0).repeat(6, 1)])
    np.testing.assert_array_equal(found, expected, strict=True)


def test_a_picture_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        images_of([tmp_path / "gone\n.png"])
    assert str(caught.value) == f"{tmp_path}/gone\\n.png: No such file or directory"


def test_a_sheet_is_a_file_of_whole_pixels(tmp_path: Path, paths: list[Path]) -> None:
    """Of 192 for an image, and so much for gaps, titles and heading, at 150 per inch."""
    file = tmp_path / "new/sheet.png"
    write_sheet(file, paths, CLASSES, SHARES)
    with Image.open(file) as found:
        assert found.format == "PNG"
        assert found.info["dpi"] == pytest.approx((150, 150), abs=0.02)
        pixels = np.asarray(found.convert("RGB"))
    assert pixels.shape == (2 * 255 + 63, 6 * 228, 3)
    # Each pixel of an image is one of the sheet.
    (row,) = [top for top in range(300) if (pixels[top, 18:210] == PIXELS[0, 0]).all()]
    np.testing.assert_array_equal(pixels[row : row + 192, 18:210], PIXELS[0])


def test_the_longest_sheet_can_be_drawn(
    written: list[tuple[Figure, Path, int]], paths: list[Path]
) -> None:
    """Matplotlib draws no more than 65,535 pixels in one direction."""
    assert MOST == 1200
    for count in (6, 7):
        write_sheet(Path("sheet.png"), paths[:count], CLASSES[:count], SHARES[:count])
    one, two = (figure.get_size_inches()[1] * dpi for figure, _, dpi in written)
    rows = -(-MOST // 6)
    assert one + (two - one) * (rows - 1) < 65_536
