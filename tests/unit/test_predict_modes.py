"""The modes of pictures, as their colours are seen: grey, palettes, transparency, 16 bits."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tools.predict.reading import attempt, prepared, read

SIZE = (64, 64)
# Of no symmetry, and nothing of it is black or white.
PIXELS = np.random.default_rng(0).integers(1, 255, (32, 32, 3), np.uint8)
GREY = PIXELS[..., 0]
ALPHA = PIXELS[..., 1]


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


def grey(values: np.ndarray) -> np.ndarray:
    return np.stack([values] * 3, axis=-1)


def on_white(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None] / 255
    return colours * share + 255 * (1 - share)


def with_palette() -> Image.Image:
    """Return a picture whose rows are each of one colour, those of PALETTE."""
    picture = Image.fromarray(np.repeat(np.arange(32, dtype=np.uint8)[:, None], 32, 1), "P")
    picture.putpalette(PALETTE.ravel().tolist())
    return picture


PALETTE = PIXELS[:, 0]
ROWS = np.repeat(PALETTE[:, None], 32, axis=1)
KEY = tuple(PIXELS[5, 7].tolist())
IS_KEY = (PIXELS == KEY).all(2)
CMYK = np.dstack([PIXELS, GREY // 2])
SIXTEEN = np.linspace(0, 65535, 1024).round().astype(np.uint16).reshape(32, 32)


# The picture, the name of its file, more to save it with, and the colours that are seen.
Case = tuple[Image.Image, str, dict[str, Any], np.ndarray]
MODES: dict[str, Case] = {
    "1": (Image.fromarray(GREY > 90), "a.png", {}, grey((GREY > 90) * 255)),
    "L": (Image.fromarray(GREY), "a.png", {}, grey(GREY)),
    "LA": (
        Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(ALPHA)]),
        "a.png",
        {},
        on_white(grey(GREY), ALPHA),
    ),
    "L, one level transparent": (
        Image.fromarray(GREY),
        "a.png",
        {"transparency": 77},
        grey(np.where(GREY == 77, 255, GREY)),
    ),
    "P": (
        with_palette(),
        "a.png",
        {},
        ROWS,
    ),
    "P, one colour transparent": (
        with_palette(),
        "a.gif",
        {"transparency": 3},
        np.where(np.arange(32)[:, None, None] == 3, 255, ROWS),
    ),
    "P, colours half transparent": (
        with_palette(),
        "a.png",
        {"transparency": bytes(range(0, 256, 8))},
        on_white(ROWS, np.arange(0, 256, 8)[:, None]),
    ),
    "RGB": (Image.fromarray(PIXELS), "a.png", {}, PIXELS),
    "RGB, one colour transparent": (
        Image.fromarray(PIXELS),
        "a.png",
        {"transparency": KEY},
        np.where(IS_KEY[..., None], 255, PIXELS),
    ),
    "RGBA": (
        Image.fromarray(np.dstack([PIXELS, ALPHA])),
        "a.png",
        {},
        on_white(PIXELS, ALPHA),
    ),
    "CMYK": (
        Image.fromarray(CMYK, "CMYK"),
        "a.tif",
        {},
        (255 - CMYK[..., :3].astype(float)) * (255 - CMYK[..., 3:].astype(float)) / 255,
    ),
    "I;16": (Image.fromarray(SIXTEEN), "a.png", {}, grey(SIXTEEN / 257)),
    # Beyond what 16 bits hold, on both sides.
    "I": (
        Image.fromarray(SIXTEEN.astype(np.int32) * 3 - 65535),
        "a.tif",
        {},
        grey(np.clip((SIXTEEN.astype(float) * 3 - 65535) / 257, 0, 255)),
    ),
}


@pytest.mark.parametrize("mode", MODES)
def test_colours_of_each_mode(tmp_path: Path, mode: str) -> None:
    picture, name, settings, expected = MODES[mode]
    picture.save(tmp_path / name, **settings)
    with Image.open(tmp_path / name) as reopened:
        assert reopened.mode == mode.split(",")[0]
    found = read(tmp_path / name)
    assert (found.shape, found.dtype) == ((32, 32, 3), np.uint8)
    # Alpha channels of 8 bits are multiplied with and divided by, which rounds each time.
    np.testing.assert_allclose(found, expected, atol=1.5 if "A" in mode or "half" in mode else 0.51)


def test_transparent_pixels_do_not_colour_those_beside_them(tmp_path: Path) -> None:
    """Columns of red that is not seen, and of blue: half blue on white, not half purple."""
    columns = np.zeros((64, 64, 4), np.uint8)
    columns[:, ::2] = (255, 0, 0, 0)
    columns[:, 1::2] = (0, 0, 255, 255)
    Image.fromarray(columns).save(tmp_path / "a.png")
    np.testing.assert_allclose(read(tmp_path / "a.png"), [[[127.5, 127.5, 255]] * 32] * 32, atol=1)


def test_values_of_no_known_range_are_refused(tmp_path: Path) -> None:
    Image.new("F", (32, 32)).save(tmp_path / "a.tif")
    assert attempt(tmp_path / "a.tif") == "floating-point values of no known range"


@pytest.mark.parametrize(
    ("mode", "conversions"),
    [
        ("RGB", []),
        ("L", ["RGB"]),
        ("I;16", ["I"]),
        ("RGBA", ["RGBa"]),
        ("LA", ["RGBA", "RGBa"]),
    ],
)
def test_a_picture_is_not_copied_without_need(
    monkeypatch: pytest.MonkeyPatch, mode: str, conversions: list[str]
) -> None:
    """Each copy of a large one takes hundreds of megabytes."""
    found: list[str] = []
    convert = Image.Image.convert

    def noted(picture: Image.Image, mode: str) -> Image.Image:
        found.append(mode)
        return convert(picture, mode)

    picture = Image.new(mode, SIZE)
    monkeypatch.setattr(Image.Image, "convert", noted)
    prepared(picture)
    assert found == conversions
