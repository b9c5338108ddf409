"""The grid of images: every pixel a square, each image and title in its place."""

import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from stages.plots.pictures import grid


def images_of(count: int) -> np.ndarray:
    """Return so many random images, uint8."""
    return np.random.default_rng(count).integers(0, 256, (count, 32, 32, 3), np.uint8)


def drawn(images: np.ndarray, columns: int, dpi: int, title: str = "cat") -> Figure:
    """Return a grid of images that all have the same title."""
    titles, colours = [title] * len(images), ["black"] * len(images)
    return grid(images, titles, colours, "Heading", columns, dpi)


def pixels(figure: Figure, dpi: int) -> np.ndarray:
    """Return a figure as it is written, uint8 (height, width, 3)."""
    content = io.BytesIO()
    figure.savefig(content, dpi=dpi, format="png")
    return np.asarray(Image.open(content).convert("RGB"))


def place_of(image: np.ndarray, shown: np.ndarray, scale: int) -> tuple[int, int]:
    """Return the row and the column at which an image is shown, every pixel so many wide."""
    block = image.repeat(scale, 0).repeat(scale, 1)
    side = len(block)
    corners = (shown[: 1 - side, : 1 - side] == block[0, 0]).all(-1)
    corners &= (shown[side - 1 :, side - 1 :] == block[-1, -1]).all(-1)
    places = [
        (int(row), int(column))
        for row, column in np.argwhere(corners)
        if np.array_equal(shown[row : row + side, column : column + side], block)
    ]
    assert len(places) == 1, "an image is not shown pixel by pixel"
    return places[0]


@pytest.mark.parametrize(("title", "height"), [("cat", 155), ("R: cat\nP: dog", 170)])
def test_images_stand_row_by_row(title: str, height: int) -> None:
    """At 100 dpi: 128 pixels an image, 24 between, 42 for the heading, 15 for a line of title."""
    images = images_of(7)
    shown = pixels(drawn(images, 3, 100, title), 100)
    assert shown.shape == (42 + 3 * height, 3 * (128 + 24), 3)
    # Below each image, 6 pixels are left to the next.
    top, left = 42 + height - 128 - 6, 12
    for number, image in enumerate(images):
        row, column = divmod(number, 3)
        place = place_of(image, shown, 4)
        assert place == (top + row * height, left + column * (128 + 24))
    # The last row holds one image, the rest is white.
    assert (shown[-height + 10 :, 12 + 152 :] == 255).all()


@pytest.mark.parametrize(
    ("dpi", "scale"),
    [(10, 1), (50, 2), (61, 2), (62, 2), (63, 3), (77, 3), (160, 6), (201, 8), (400, 16)],
)
def test_each_pixel_is_a_square(dpi: int, scale: int) -> None:
    """Of the number of pixels that is nearest to 1.28 inches for an image, 0.04 for a pixel."""
    images = images_of(2)
    shown = pixels(drawn(images, 3, dpi), dpi)
    (first_row, first), (row, second) = (place_of(image, shown, scale) for image in images)
    assert row == first_row
    assert abs((second - first) - (32 * scale + 0.24 * dpi)) <= 1


def test_images_of_floats() -> None:
    images = images_of(3)
    shown = pixels(drawn(images.astype(np.float32) / np.float32(255), 3, 50), 50)
    assert [place_of(image, shown, 2)[1] for image in images] == [6, 82, 158]


def test_titles_stand_above_their_images() -> None:
    titles, colours = ["cat", "$a$ and $b$", "dog\n12.5%"], ["black", "#d55e00", "black"]
    figure = grid(images_of(3), titles, colours, "Heading", 3, 100)
    assert [axes.get_title() for axes in figure.axes] == titles
    assert [axes.title.get_color() for axes in figure.axes] == colours
    for axes in figure.axes:
        # No frame, no ticks.
        assert not axes.axison
        assert axes.title.get_fontsize() == 8
        # A name is no formula.
        assert not axes.title.get_parse_math()
    figure.draw_without_rendering()
    for axes in figure.axes:
        box = axes.title.get_window_extent()
        assert box.x0 + box.x1 == pytest.approx(axes.bbox.x0 + axes.bbox.x1, abs=2)
        # Neither on the image nor in the heading.
        assert axes.bbox.y1 <= box.y0
        assert box.y1 < figure.texts[0].get_window_extent().y0
    # The letters stand 2 points above the image.
    _, baseline = figure.axes[0].title.get_transform().transform((0.5, 1))
    assert baseline - figure.axes[0].bbox.y1 == pytest.approx(2 / 72 * 100)


@pytest.mark.parametrize("count", [2, 5])
def test_heading_is_above_all(count: int) -> None:
    figure = drawn(images_of(count), 3, 100)
    (heading,) = figure.texts
    assert (heading.get_text(), heading.get_fontsize()) == ("Heading", 10)
    alignment = heading.get_horizontalalignment(), heading.get_verticalalignment()
    assert alignment == ("center", "center")
    width, height = figure.bbox.size
    position = heading.get_transform().transform(heading.get_position())
    assert position.tolist() == pytest.approx([width / 2, height - 20])


def test_no_images() -> None:
    figure = grid(np.zeros((0, 32, 32, 3), np.uint8), [], [], "No mistakes", 3, 100)
    assert [text.get_text() for text in figure.texts] == ["No mistakes"]
    assert figure.axes == []
    # Room for one row.
    assert pixels(figure, 100).shape == (42 + 155, 3 * 152, 3)
