"""Batches of shuffled and augmented images: NumPy plans them, devices pick their pixels.

So the same plan makes the same batches on every device, and no pixel is copied to it twice.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from stages.train.augmentation import Augmentation, Plan
from stages.train.randomness import stream
from stages.train.replicas import on_each


class Batches:
    """Every image once an epoch, in random order, as `fit(shuffle=True)` gives them."""

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        batch_size: int,
        augmentation: Augmentation,
        seed: int,
    ):
        """Take images, float32 (n, side, side, 3) in [0, 1], and labels (n,) to the device.

        Where the augmentation asks for them, re-encoded copies follow the images: (2 n, ...).
        """
        # A GPU gathers no uint8.
        self.data = on_each(images), on_each(labels.astype(np.int64))
        self.size, self.side = len(labels), images.shape[1]
        self.batch_size = batch_size
        self.augmentation = augmentation
        self.seed = seed

    def __len__(self) -> int:
        """Return the number of batches in an epoch; the last one may be smaller."""
        return -(-self.size // self.batch_size)

    def plan(self, epoch: int) -> Plan:
        """Return the plan of an epoch."""
        order = stream(self.seed, "order", epoch).permutation(self.size)
        return self.augmentation.plan(
            order, self.size, self.side, self.batch_size, self.seed, epoch
        )

    def in_order(self) -> Plan:
        """Return the plan of all images as they are."""
        return {"index": np.arange(self.size)}

    def chunks(self, plan: Plan, steps: int) -> Iterator[Plan]:
        """Yield a plan in chunks of so many batches, their number and size in front.

        The last smaller batch comes alone, so that the batches of each chunk have one size.
        """
        size, images = self.batch_size, len(plan["index"])
        whole = images // size * size
        for first, until in pairwise([*range(0, whole, size * steps), whole, images]):
            batches = max(1, (until - first) // size)
            if first < until:
                yield {
                    name: rows[first:until].reshape(batches, -1, *rows.shape[1:])
                    for name, rows in plan.items()
                }
