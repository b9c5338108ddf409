"""Pictures of any format and size, read as CIFAR-10 images."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.pictures import gradient
from tools.predict.reading import read

# Of no symmetry, and nothing of it is black or white.
PIXELS = np.random.default_rng(0).integers(1, 255, (32, 32, 3), np.uint8)


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


TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda pixels: pixels,
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(pixels, 2).swapaxes(0, 1),
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", TURNS)
def test_the_camera_was_held_as_exif_says(tmp_path: Path, orientation: int) -> None:
    picture = Image.fromarray(PIXELS)
    exif = picture.getexif()
    exif[0x0112] = orientation
    picture.save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read(tmp_path / "a.png"), TURNS[orientation](PIXELS))


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp", "a.tif"])
def test_of_several_pictures_the_first_is_read(tmp_path: Path, name: str) -> None:
    frames = [Image.new("RGB", (32, 32), (level, 0, 255)) for level in (51, 204, 0)]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], lossless=True)
    assert (read(tmp_path / name) == (51, 0, 255)).all()


@pytest.mark.parametrize("times", [2, 3, 8])
def test_a_shrunken_pixel_is_the_mean_of_a_square(tmp_path: Path, times: int) -> None:
    large = np.random.default_rng(1).integers(0, 256, (32 * times, 32 * times, 3), np.uint8)
    Image.fromarray(large).save(tmp_path / "a.png")
    expected = large.reshape(32, times, 32, times, 3).mean((1, 3))
    np.testing.assert_allclose(read(tmp_path / "a.png"), expected, atol=1)


@pytest.mark.parametrize("side", [1, 2, 16])
def test_an_enlarged_picture_is_of_sharp_squares(tmp_path: Path, side: int) -> None:
    Image.fromarray(PIXELS[:side, :side]).save(tmp_path / "a.png")
    times = 32 // side
    expected = PIXELS[:side, :side].repeat(times, 0).repeat(times, 1)
    np.testing.assert_array_equal(read(tmp_path / "a.png"), expected)


@pytest.mark.parametrize("added", [((0, 0), (3, 3), (0, 0)), ((5, 5), (0, 0), (0, 0))])
def test_the_middle_square_is_read(
    tmp_path: Path, added: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
) -> None:
    Image.fromarray(np.pad(PIXELS, added)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read(tmp_path / "a.png"), PIXELS)


def test_large_jpeg_is_read_as_a_whole_one(tmp_path: Path) -> None:
    """Its decoder shrinks it, and what comes out is nearly the mean of the same pixels."""
    picture = Image.fromarray(gradient()).resize((2400, 2400), Image.Resampling.BICUBIC)
    picture.save(tmp_path / "a.jpg", quality=95, subsampling=0)
    picture.save(tmp_path / "a.png")
    difference = read(tmp_path / "a.jpg").astype(int) - read(tmp_path / "a.png")
    assert np.abs(difference).mean() < 1
    assert np.abs(difference).max() <= 6
