"""Pictures of any format, mode and size as a model takes them, and which files are pictures."""

import os
import shutil
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from pipeline.data.pictures import FORMATS, attempt, averageable, files, read
from tests.project import ROOT, run

SIDE = 16
# Of no symmetry, and nothing of it is black or white.
PIXELS = np.random.default_rng(0).integers(1, 255, (SIDE, SIDE, 3), np.uint8)
PICTURE = Image.fromarray(PIXELS)
GREY, ALPHA = PIXELS[..., 0], PIXELS[..., 1]
SIXTEEN = np.linspace(0, 65000, SIDE**2).round().astype(np.uint16).reshape(SIDE, SIDE)
# Of a picture whose rows are each of one colour.
ROWS = np.repeat(PIXELS[:, :1], SIDE, axis=1)
KEY = tuple(PIXELS[5, 7].tolist())
IS_KEY = (PIXELS == KEY).all(2, keepdims=True)


def grey(values: np.ndarray) -> np.ndarray:
    return np.stack([values] * 3, axis=-1)


def on_white(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None] / 255
    return colours * share + 255 * (1 - share)


WITH_PALETTE = Image.fromarray(np.indices((SIDE, SIDE), np.uint8)[0], "P")
WITH_PALETTE.putpalette(PIXELS[:, 0].ravel().tolist())
GREY_AND_ALPHA = Image.merge("LA", [Image.fromarray(values) for values in (GREY, ALPHA)])
STEPS = bytes(range(0, 256, 16))
ONE_CLEAR = np.where(np.arange(SIDE)[:, None, None] == 3, 255, ROWS)
HALF_CLEAR = on_white(ROWS, np.arange(0, 256, 16)[:, None])
# A picture, the colours that are seen, and what to save it with.
MODES: dict[str, tuple[Image.Image, np.ndarray, dict[str, Any]]] = {
    "1": (Image.fromarray(GREY > 90), grey((GREY > 90) * 255), {}),
    "LA": (GREY_AND_ALPHA, on_white(grey(GREY), ALPHA), {}),
    "P, one clear": (WITH_PALETTE, ONE_CLEAR, {"format": "GIF", "transparency": 3}),
    "P, half clear": (WITH_PALETTE, HALF_CLEAR, {"transparency": STEPS}),
    "RGB, one clear": (PICTURE, np.where(IS_KEY, 255, PIXELS), {"transparency": KEY}),
    "RGBA": (Image.fromarray(np.dstack([PIXELS, ALPHA])), on_white(PIXELS, ALPHA), {}),
    "I;16": (Image.fromarray(SIXTEEN), grey(SIXTEEN / 257), {}),
}


@pytest.mark.parametrize("mode", MODES)
def test_colours_of_each_mode(tmp_path: Path, mode: str) -> None:
    picture, seen, settings = MODES[mode]
    # Its name does not count.
    picture.save(tmp_path / "picture.jpg", **{"format": "PNG"} | settings)
    found = read(tmp_path / "picture.jpg", SIDE)
    assert (found.shape, found.dtype) == ((SIDE, SIDE, 3), np.uint8)
    # Alpha channels of 8 bits are multiplied with and divided by, which rounds each time.
    np.testing.assert_allclose(found, seen, atol=1.5 if "A" in mode or "half" in mode else 0.51)


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I;16L", "I;16N"])
def test_grey_of_16_bits_keeps_its_values(mode: str) -> None:
    found = averageable(Image.new(mode, (2, 2), 13107))
    assert (found.mode, found.getpixel((0, 0))) == ("I", 13107)


@pytest.mark.parametrize(
    ("tag", "value", "expected"), [("BitsPerSample", 12, 51), ("PhotometricInterpretation", 0, 204)]
)
def test_grey_of_tiff_is_scaled_as_its_tags_say(
    tmp_path: Path, tag: str, value: int, expected: int
) -> None:
    """Hexadecimal 3333 is a fifth of white, and so are 12 bits of it."""
    Image.new("I;16", (32, 32), 0x3333).save(tmp_path / "a.tif")
    entry = struct.pack("<HHI", ExifTags.Base[tag], 3, 1)
    before, found, after = (tmp_path / "a.tif").read_bytes().partition(entry)
    assert found
    (tmp_path / "a.tif").write_bytes(before + entry + struct.pack("<H", value) + after[2:])
    assert (read(tmp_path / "a.tif", SIDE) == expected).all()


def test_transparent_pixels_do_not_colour_those_beside_them(tmp_path: Path) -> None:
    """Columns of red that is not seen, and of blue: half blue on white, not half purple."""
    columns = np.zeros((2 * SIDE, 2 * SIDE, 4), np.uint8)
    columns[:, ::2] = (255, 0, 0, 0)
    columns[:, 1::2] = (0, 0, 255, 255)
    Image.fromarray(columns).save(tmp_path / "a.png")
    found = read(tmp_path / "a.png", SIDE)
    np.testing.assert_allclose(found, np.full((SIDE, SIDE, 3), (127.5, 127.5, 255)), atol=1)


def test_the_camera_was_held_as_exif_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    PICTURE.save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read(tmp_path / "a.png", SIDE), np.rot90(PIXELS, -1))


def test_a_shrunken_pixel_is_the_mean_of_a_square(tmp_path: Path) -> None:
    large = np.random.default_rng(1).integers(0, 256, (SIDE, 3, SIDE, 3, 3), np.uint8)
    Image.fromarray(large.reshape(3 * SIDE, 3 * SIDE, 3)).save(tmp_path / "a.png")
    np.testing.assert_allclose(read(tmp_path / "a.png", SIDE), large.mean((1, 3)), atol=1)


@pytest.mark.parametrize("added", [((0, 0), (3, 3), (0, 0)), ((5, 5), (0, 0), (0, 0))])
def test_the_middle_square_is_enlarged_to_sharp_squares(
    tmp_path: Path, added: tuple[tuple[int, int], ...]
) -> None:
    Image.fromarray(np.pad(PIXELS, added)).save(tmp_path / "a.png")
    expected = PIXELS.repeat(3, 0).repeat(3, 1)
    np.testing.assert_array_equal(read(tmp_path / "a.png", 3 * SIDE), expected)


@pytest.mark.parametrize("side", [SIDE, 500])
def test_large_jpeg_is_read_as_a_whole_one(tmp_path: Path, side: int) -> None:
    """Its decoder shrinks it, and what comes out is nearly the mean of the same pixels."""
    picture = PICTURE.resize((2400, 2400), Image.Resampling.BICUBIC)
    picture.save(tmp_path / "a.jpg", quality=95, subsampling=0)
    picture.save(tmp_path / "a.png", compress_level=1)
    difference = read(tmp_path / "a.jpg", side).astype(int) - read(tmp_path / "a.png", side)
    assert np.abs(difference).mean() < 1.5
    assert np.abs(difference).max() <= 8


MEASURED = """
import re, sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from pipeline.data.pictures import attempt
def peak():
    # Not ru_maxrss, which a process inherits from the one that started it.
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
before = peak()
for name in ("photo.jpg", "progressive.jpg", "picture.png"):
    with ThreadPoolExecutor(6) as pool:
        found = [*pool.map(partial(attempt, side=32), [Path(sys.argv[1], name)] * 6)]
    assert not any(isinstance(one, str) for one in found)
    print((peak() - before) // 1024)
"""


def test_memory_is_bounded(tmp_path: Path) -> None:
    """Of six pictures of 36 megapixels, each more than all that may be decoded at a time."""
    picture = PICTURE.resize((6000, 6000), Image.Resampling.NEAREST)
    picture.save(tmp_path / "photo.jpg")
    picture.save(tmp_path / "progressive.jpg", progressive=True)
    picture.save(tmp_path / "picture.png", compress_level=1)
    result = run([sys.executable, "-c", MEASURED, str(tmp_path)], ROOT)
    assert result.returncode == 0, result.stderr
    photo, progressive, png = map(int, result.stdout.split())
    # All at once took 300 and 900 MB.
    assert photo < 60
    assert progressive < 150
    assert png < 350


# One of each kind that a fuzzer found Pillow's decoders to raise, and none of them an OSError.
@pytest.mark.parametrize("name", sorted(os.listdir(ROOT / "tests/damaged_pictures")))
@pytest.mark.filterwarnings("ignore")
def test_damaged_picture_is_told(name: str) -> None:
    reason = attempt(ROOT / "tests/damaged_pictures" / name, SIDE)
    assert isinstance(reason, str)
    assert reason.isprintable()


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_what_cannot_be_read_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for mode in ("F", "I"):
        Image.new(mode, (SIDE, SIDE)).save(f"{mode}.tif")
    PICTURE.save("cut.png")
    Path("cut.png").write_bytes(Path("cut.png").read_bytes()[:100])
    # Of EPS, Pillow's decoder would start Ghostscript.
    PICTURE.save("hidden.jpg", "EPS")
    os.mkfifo("pipe.png")
    Image.new("RGB", (40, 30)).save("bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 599)
    reasons = {
        ".": "Is a directory",
        "none.png": "No such file",
        "a" * 300: "File name too long",
        # Of 32 bits, white may be 1, 255, 65535 or more.
        "F.tif": "mode F: values of no known range",
        "I.tif": "mode I: values of no known range",
        "cut.png": "image file is truncated",
        "hidden.jpg": f"not recognized as one of {', '.join(FORMATS)}",
        # Who opens it waits for who writes to it.
        "pipe.png": "not a regular file",
        "bomb.png": "Image size (1200 pixels) exceeds limit of 1198 pixels",
    }
    for name, reason in reasons.items():
        assert reason in attempt(Path(name), SIDE)


# --- which files of a folder are pictures ---------------------------------------------------------


def made(*names: str) -> None:
    """Make empty files, and the folders that they are in."""
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def found_in(*names: str) -> list[str]:
    return [str(path) for path, _ in files([*names])]


PICTURES = ["a.png", "a.PnG", "a.jpeg", "a.gif", "a.tif", "a.webp", "a.b.bmp", "x.png/a.png"]
PICTURES += [".hidden.png", ".hidden/a.png", "_.png", "a.mpo", "a.HEIC", "a.dng", "a.jxl", "a.svg"]
OTHERS = ["a.txt", "png", ".png", "a", "a.png.txt", "a.pdf", "a.png~", "._a.png", "x/._a.png"]
OTHERS += ["a.mp4", "a.xmp", "a.aae", "a.h5", ".DS_Store", "Thumbs.db", "a.pngx"]


def test_suffixes_of_pictures(folder: Path) -> None:
    made(*(f"in/{name}" for name in PICTURES + OTHERS))
    assert {*found_in("in")} == {f"in/{name}" for name in PICTURES}
    # What is named itself is always judged.
    assert found_in("in/a.txt", "none", "a" * 300) == ["in/a.txt", "none", "a" * 300]


def test_without_a_suffix_the_content_says_what_is_a_picture(folder: Path) -> None:
    for name in (*FORMATS, "JPEG2000", "._PNG"):
        Image.new("RGB", (SIDE, SIDE)).save(name, name.strip("._"))
    Path("heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    Image.new("RGB", (SIDE, SIDE)).save("EPS", "EPS")
    Path("text").write_text("BMX is no picture, GIF neither")
    Path("video").write_bytes(b"\0\0\0\x18ftypisom\0\0\0\0")
    os.mkfifo("pipe")
    assert found_in(".") == sorted([*FORMATS, "JPEG2000", "heic"])


def test_order_of_files(folder: Path) -> None:
    """That of the arguments; within a folder by the parts of names."""
    made("in/b.png", "in/a-b/1.png", "in/a/2.png", "in/a/10.png", "in/B.png", "z.png")
    expected = ["in/B.png", "in/a/10.png", "in/a/2.png", "in/a-b/1.png", "in/b.png"]
    assert found_in("z.png", "in", "in/a/2.png") == ["z.png", *expected, "in/a/2.png"]


def test_links_are_followed_and_no_folder_is_listed_twice(folder: Path) -> None:
    made("in/a.png", "elsewhere/b.png", "in/deep/c.png")
    # Not the one that the file system has first.
    for number in (5, 3, 8, 6, 9, 1, 7, 0, 4, 2):
        Path(f"in/link{number}").symlink_to("../elsewhere")
    Path("elsewhere/again").symlink_to("../in")
    Path("in/deep/up").symlink_to("..")
    Path("in/dangling.png").symlink_to("nowhere")
    names = ["a.png", "dangling.png", "deep/c.png", "link0/b.png"]
    assert found_in("in") == [f"in/{name}" for name in names]


def test_a_locked_folder_stands_for_its_files(folder: Path) -> None:
    made("in/a.png", "in/locked/b.png", "in/z.png")
    Path("in/locked").chmod(0)
    # Not as root, who may list any folder.
    program = "import sys; from pipeline.data.pictures import files; "
    program += "print(*(path for path, _ in files(sys.argv[1:])))"
    drop = ["setpriv", "--inh-caps=-all", "--bounding-set=-all"] if os.geteuid() == 0 else []
    if drop and not shutil.which("setpriv"):
        pytest.skip("setpriv is not installed")
    result = run([*drop, sys.executable, "-c", program, f"{folder}/in"], ROOT)
    Path("in/locked").chmod(0o700)
    expected = [f"{folder}/in/{name}" for name in ("a.png", "locked", "z.png")]
    assert result.stdout.split() == expected, result.stderr
