"""What is done to the training images anew in each epoch, and how it is drawn."""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from stages.cifar10 import SIDE
from stages.params import Section, Share
from stages.train.randomness import stream

# Numbers of a normal distribution, of which each noisy image takes a window.
NORMALS = 1 << 20

# By name, an array with a row for each image of an epoch, in the order in which they are trained.
Plan = dict[str, np.ndarray]


class Augmentation(Section):
    flip: Literal["none", "random", "alternating"] = "none"
    translation: Annotated[int, Field(ge=0, le=16)] = 0
    border: Literal["mirrored", "zero"] = "mirrored"
    cutout: Annotated[int, Field(ge=0, le=SIDE)] = 0
    brightness: Share = 0.0
    contrast: Share = 0.0
    noise: Share = 0.0
    jpeg: Annotated[float, Field(ge=0, le=1)] = 0.0
    low_resolution: Annotated[int, Field(ge=1, le=SIDE)] = 24
    low_resolution_share: Annotated[float, Field(ge=0, le=1)] = 0.0

    def low_resolution_epochs(self, epochs: int) -> int:
        """Return how many first epochs train on smaller images; the last epoch never does."""
        return min(round(self.low_resolution_share * epochs), epochs - 1)

    def plan(
        self, index: np.ndarray, images: int, side: int, batch_size: int, seed: int, epoch: int
    ) -> Plan:
        """Draw how the images of an epoch are augmented.

        "alternating" flips: a random half is mirrored in the first epoch and each image's side
        changes with every epoch, so that two epochs show both (arXiv 2404.00498). Cutout blacks out
        a square whose middle may be any pixel: DeVries & Taylor, arXiv 1708.04552. Brightness and
        contrast change as with Keras's RandomBrightness and RandomContrast, but are clipped once,
        after both and the noise.

        Args:
            index: which images are trained, one after the other, int64 (n,).
            images: how many there are to choose from.
            side: of an image, in pixels.
            batch_size: images of a step.
            seed: of the random streams.
            epoch: from 0.

        Returns:
            `index`, and of the following what the augmentation needs:
            `source`: the row of the image or, `images` further on, of its JPEG copy, int64 (n,);
            `rows`, `columns`: the row and column that each one is taken from, int64 (n, side);
            `inside_rows`, `inside_columns`: whether these are in the image, bool (n, side);
            `brightness`: what is added to an image, float64 (n,);
            `contrast`: the factor of its distance from its mean, float64 (n,);
            `noise`: the standard deviation of its noise, float64 (n,);
            `noise_start`: the first of the `NORMALS` numbers that are its noise, int64 (n,);
            `hole_rows`, `hole_columns`: whether they cross the black square, bool (n, side).
        """
        plan = {"index": index}
        if self.jpeg:
            taken = stream(seed, "jpeg", epoch).random(len(index)) < self.jpeg
            plan["source"] = index + images * taken
        if self.flip != "none" or self.translation:
            plan |= self._moved(index, images, side, batch_size, seed, epoch)
        if self.brightness:
            drawn = stream(seed, "brightness", epoch)
            plan["brightness"] = drawn.uniform(-self.brightness, self.brightness, len(index))
        if self.contrast:
            drawn = stream(seed, "contrast", epoch)
            plan["contrast"] = drawn.uniform(1 - self.contrast, 1 + self.contrast, len(index))
        if self.noise:
            drawn = stream(seed, "noise", epoch)
            plan["noise"] = drawn.uniform(0, self.noise, len(index))
            plan["noise_start"] = drawn.integers(0, NORMALS, len(index))
        if self.cutout:
            middles = pairs(stream(seed, "cutout", epoch), side, len(index), batch_size)
            first, span = middles - self.cutout // 2, np.arange(side)
            plan["hole_rows"], plan["hole_columns"] = (first <= span) & (span < first + self.cutout)
        return plan

    def _moved(
        self, index: np.ndarray, images: int, side: int, batch_size: int, seed: int, epoch: int
    ) -> Plan:
        """Return where the pixels of images come from that are moved and mirrored."""
        ways, span = 2 * self.translation + 1, np.arange(side)
        moves = pairs(stream(seed, "translation", epoch), ways, len(index), batch_size)
        rows, columns = moves + span - self.translation
        if self.flip != "none":
            flips = stream(seed, "flip", epoch if self.flip == "random" else 0)
            mirrored = flips.random(images)[index, None] < 0.5
            columns = np.where(mirrored, side - 1 - columns, columns)
        if self.flip == "alternating" and epoch % 2:
            columns = columns[:, ::-1]
        if self.border == "zero":
            inside = {
                f"inside_{name}": (axis >= 0) & (axis < side)
                for name, axis in (("rows", rows), ("columns", columns))
            }
            return inside | {"rows": rows.clip(0, side - 1), "columns": columns.clip(0, side - 1)}
        mirror = np.pad(span, self.translation, "reflect")
        rows, columns = mirror[rows + self.translation], mirror[columns + self.translation]
        return {"rows": rows, "columns": columns}


def pairs(generator: np.random.Generator, below: int, images: int, batch_size: int) -> np.ndarray:
    """Return two random integers from 0 for each image, (2, images, 1), drawn batch by batch."""
    sizes = [min(batch_size, images - first) for first in range(0, images, batch_size)]
    return np.concatenate([generator.integers(0, below, (2, size, 1)) for size in sizes], axis=1)
