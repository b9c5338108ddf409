"""What is done to the training images anew in each epoch, and how it is drawn."""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from stages.cifar10 import SIDE
from stages.params import Section, Share
from stages.train.randomness import stream

# In place of the row or column of a pixel that no image has.
OUTSIDE = -1


class Augmentation(Section):
    flip: Literal["none", "random", "alternating"] = "none"
    translation: Annotated[int, Field(ge=0, le=16)] = 0
    border: Literal["mirrored", "zero"] = "mirrored"
    cutout: Annotated[int, Field(ge=0, le=SIDE)] = 0
    brightness: Share = 0.0
    contrast: Share = 0.0
    low_resolution: Annotated[int, Field(ge=1, le=SIDE)] = 24
    low_resolution_share: Annotated[float, Field(ge=0, le=1)] = 0.0

    def low_resolution_epochs(self, epochs: int) -> int:
        """Return how many first epochs train on smaller images; the last epoch never does."""
        return min(round(self.low_resolution_share * epochs), epochs - 1)


class Augmented:
    """Draws and applies the augmentation of one epoch, batch by batch.

    "alternating" flips: a random half is mirrored in the first epoch and each image's side changes
    with every epoch, so that two epochs show both (arXiv 2404.00498). Cutout blacks out a square
    whose middle may be any pixel: DeVries & Taylor, arXiv 1708.04552. Brightness and contrast
    change as with Keras's RandomBrightness and RandomContrast, but are clipped once, after both.
    """

    def __init__(self, augmentation: Augmentation, images: np.ndarray, seed: int, epoch: int):
        """Take all training images, float32 (n, side, side, 3) in [0, 1]."""
        self.augmentation = augmentation
        self.images = images
        self.side = images.shape[1]
        self.epoch = epoch
        flips = stream(seed, "flip", epoch if augmentation.flip == "random" else 0)
        self.mirrored = flips.random(len(images)) < 0.5
        self.translations = stream(seed, "translation", epoch)
        self.cutouts = stream(seed, "cutout", epoch)
        self.brightness = stream(seed, "brightness", epoch)
        self.contrast = stream(seed, "contrast", epoch)

    def batch(self, index: np.ndarray) -> np.ndarray:
        """Return the images at `index`, int (batch,), augmented: float32 (batch, side, side, 3)."""
        chosen = self.augmentation
        if chosen.flip == "none" and chosen.translation == 0:
            images = self.images[index]
        else:
            images = self.moved(index)
        if chosen.brightness:
            shift = self.brightness.uniform(-chosen.brightness, chosen.brightness, len(index))
            images = images + shift[:, None, None, None].astype(np.float32)
        if chosen.contrast:
            factor = self.contrast.uniform(1 - chosen.contrast, 1 + chosen.contrast, len(index))
            mean = images.mean((1, 2), keepdims=True)
            images = mean + factor[:, None, None, None].astype(np.float32) * (images - mean)
        if chosen.brightness or chosen.contrast:
            images = np.clip(images, 0, 1)
        return self.cut_out(images) if chosen.cutout else images

    def moved(self, index: np.ndarray) -> np.ndarray:
        """Return the images at `index`, mirrored and moved: each picked pixel by pixel."""
        most, side = self.augmentation.translation, self.side
        span = np.arange(side)
        if self.augmentation.border == "mirrored":
            inside = np.pad(span, most, "reflect")
        else:
            inside = np.pad(span, most, constant_values=OUTSIDE)
        top, left = self.translations.integers(0, 2 * most + 1, (2, len(index), 1))
        rows, columns = inside[top + span], inside[left + span]
        if self.augmentation.flip != "none":
            columns = np.where(self.mirrored[index, None], side - 1 - columns, columns)
        if self.augmentation.flip == "alternating" and self.epoch % 2:
            columns = columns[:, ::-1]
        places = (index[:, None, None] * side + rows[:, :, None]) * side + columns[:, None, :]
        images = self.images.reshape(-1, self.images.shape[-1]).take(places, axis=0, mode="clip")
        if self.augmentation.border == "zero":
            known = [(axis >= 0) & (axis < side) for axis in (rows, columns)]
            images[~(known[0][:, :, None] & known[1][:, None, :])] = 0
        return images

    def cut_out(self, images: np.ndarray) -> np.ndarray:
        """Return the images, float32 (batch, side, side, 3), with a black square in each."""
        size = self.augmentation.cutout
        first = self.cutouts.integers(0, self.side, (2, len(images), 1)) - size // 2
        span = np.arange(self.side)
        rows, columns = (first <= span) & (span < first + size)
        images[rows[:, :, None] & columns[:, None, :]] = 0
        return images
