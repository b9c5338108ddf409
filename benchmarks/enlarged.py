"""Shows what enlarging and JPEG change in `predict`: python -m benchmarks.enlarged MODEL...

The first test images are enlarged (bicubic), saved as JPEG (4:2:0) and read as `predict` reads
pictures. Prints a Markdown table for each model: accuracy, and the share of the images whose class
stays the one that the model gives to the published image.
"""

import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from stages import arrays
from stages.corruptions import rounded
from stages.evaluate.inference import load_model, predict
from tools.predict.reading import read

# Sides in pixels, each with how many images: large ones take long.
SIDES = {64: 10_000, 224: 10_000, 1000: 2_000}
QUALITIES = (95, 75)
BATCH_SIZE = 500


def as_pictures(images: np.ndarray, side: int, quality: int, folder: Path) -> np.ndarray:
    """Return what `predict` reads of images, uint8 (n, 32, 32, 3), enlarged and saved as JPEG."""

    def saved_and_read(image: np.ndarray, path: Path) -> np.ndarray:
        enlarged = Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)
        enlarged.save(path, "JPEG", quality=quality, subsampling="4:2:0")
        content = read(path)
        path.unlink()
        return content

    paths = [folder / f"{number}.jpg" for number in range(len(images))]
    with ThreadPoolExecutor() as pool:
        return np.stack([*pool.map(saved_and_read, images, paths)])


def main() -> None:
    test_images, labels = arrays.load("test")
    images = rounded(255 * test_images)
    models = {path: load_model(Path(path)) for path in sys.argv[1:]}

    def answers(path: str, shown: np.ndarray) -> np.ndarray:
        probabilities, _ = predict(models[path], shown / np.float32(255), "none", BATCH_SIZE)
        return probabilities.argmax(axis=1)

    published = {path: answers(path, images) for path in models}
    print("| model | side | quality | images | accuracy | same class |\n|---|---|---|---|---|---|")
    for path, found in published.items():
        print(f"| {path} | 32 | as published | {len(found):,} | {(found == labels).mean():.4f} | |")
    with tempfile.TemporaryDirectory() as folder:
        for side, count in SIDES.items():
            for quality in QUALITIES:
                shown = as_pictures(images[:count], side, quality, Path(folder))
                for path, first in published.items():
                    found = answers(path, shown)
                    right = (found == labels[: len(found)]).mean()
                    same = (found == first[: len(found)]).mean()
                    print(
                        f"| {path} | {side} | {quality} | {len(found):,} | {right:.4f} | "
                        f"{same:.4f} |",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
