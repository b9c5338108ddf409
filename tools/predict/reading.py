"""Reads a picture of any format, size and mode as a CIFAR-10 image."""

import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from stages.cifar10 import SIDE
from stages.errors import in_one_line

# Of all test images enlarged to 48 to 333 pixels and encoded as JPEG, the mean of the pixels that
# fall on one had 87.8 % right, Lanczos 87.7 %, Hamming and bicubic 87.1 %. Taking the nearest pixel
# had 88.3 %, but less of the smallest, and of a photograph it sees one pixel in hundreds.
RESAMPLING = Image.Resampling.BOX
# JPEG's own decoder leaves out what is finer, and with it most of the time and memory: 3,000 test
# images enlarged to 256 to 1,500 pixels had 88.27 % right with it and 88.30 % without, in 4.6 s
# and 18.5 s. With 4 * SIDE they had 88.23 %, with SIDE 87.87 %.
DECODED_SIDE = 8 * SIDE
WHITE = (255, 255, 255, 255)
# A 16-bit picture of 65535 is white, and so is an 8-bit one of 255.
FROM_16_BIT = 65535 / 255
# Decoded pictures take 4 to 16 bytes a pixel.
PIXELS_IN_FLIGHT = 1 << 25


class Budget:
    """Lets several threads decode pictures of so many pixels in all, or one larger one alone."""

    def __init__(self, pixels: int):
        """Start with all of `pixels` free."""
        self._all = self._free = pixels
        self._changed = threading.Condition()

    @contextmanager
    def spent(self, pixels: int) -> Iterator[None]:
        """Wait until `pixels` are free, and take them while the body runs."""
        taken = min(pixels, self._all)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= taken)
            self._free -= taken
        try:
            yield
        finally:
            with self._changed:
                self._free += taken
                self._changed.notify_all()


BUDGET = Budget(PIXELS_IN_FLIGHT)


def prepared(picture: Image.Image) -> Image.Image:
    """Return a picture in a mode whose pixels can be averaged: RGB, RGBa (premultiplied) or I.

    Raises:
        ValueError: the range of its values is not known.
    """
    if picture.mode.startswith("I"):
        return picture.convert("I")
    if picture.mode == "F":
        raise ValueError("floating-point values of no known range")
    if picture.has_transparency_data:
        visible = picture if picture.mode == "RGBA" else picture.convert("RGBA")
        return visible.convert("RGBa")
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def in_colour(image: Image.Image) -> Image.Image:
    """Return an image of `prepared` in 8-bit RGB; what is transparent is put on white."""
    if image.mode == "I":
        values = np.asarray(image) / FROM_16_BIT
        return Image.fromarray(values.round().clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode == "RGBa":
        white = Image.new("RGBA", image.size, WHITE)
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image


def read(path: Path, side: int = SIDE) -> np.ndarray:
    """Read a picture as the camera was held, its middle square shrunk or enlarged.

    Args:
        path: of a file of any format that Pillow reads.
        side: of the image, in pixels, at most DECODED_SIDE.

    Returns:
        uint8 (side, side, 3).

    Raises:
        Exception: it cannot be read; the decoders of damaged files raise what they come upon.
    """
    # Opening a pipe would wait for who writes to it.
    if not stat.S_ISREG(path.stat().st_mode) and not path.is_dir():
        raise ValueError("not a regular file")
    with Image.open(path) as picture:
        whole = picture.width * picture.height
        picture.draft(picture.mode, (DECODED_SIDE, DECODED_SIDE))
        # Of a progressive JPEG, the decoder keeps all coefficients until the last scan.
        drafted = whole if picture.info.get("progressive") else picture.width * picture.height
        with BUDGET.spent(drafted):
            ImageOps.exif_transpose(picture, in_place=True)
            image = ImageOps.fit(prepared(picture), (side, side), RESAMPLING)
            # Its memory is to be free before another picture takes its place.
            picture.close()
    return np.asarray(in_colour(image))


def attempt(path: Path, side: int = SIDE) -> np.ndarray | str:
    """Read a picture as `read` does, or say on one line why it cannot be read."""
    try:
        return read(path, side)
    except Exception as error:
        return getattr(error, "strerror", None) or in_one_line(error)
