"""Classifies pictures: python -m stages.predict IMAGE_OR_FOLDER... [--help].

Pictures of any format, size and mode that Pillow reads; of a folder, all in it and its folders.
"""

import argparse
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
from PIL import Image

from stages.cifar10 import CLASSES
from stages.errors import InputError, exit_with_message
from stages.evaluate.params import Tta
from stages.plots.pictures import grid
from stages.plots.style import save
from stages.predict.reading import files, read

MODEL = Path("models/model.keras")
BATCH_SIZE = 1000
SHEET_COLUMNS, SHEET_DPI = 6, 150


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stages.predict", description=__doc__)
    parser.add_argument("paths", metavar="IMAGE_OR_FOLDER", type=Path, nargs="+")
    parser.add_argument("--model", type=Path, default=MODEL, help=f"{MODEL} by default")
    parser.add_argument("--top", type=int, default=3, metavar="K", help="classes; 3 by default")
    parser.add_argument("--figure", type=Path, help="a contact sheet, PNG", metavar="FILE")
    parser.add_argument(
        "--tta",
        choices=get_args(Tta),
        default="none",
        help="views of each averaged; none: as it is",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON instead of a table")
    form.add_argument("--csv", action="store_true", help="print CSV instead of a table")
    return parser.parse_args()


def attempt(path: Path) -> np.ndarray | str:
    """Read a picture, or say why it cannot be read."""
    try:
        return read(path)
    # SyntaxError is what Pillow raises of a broken PNG.
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return " ".join(reason.split())


def classify(
    paths: list[Path], model_path: Path, tta: Tta
) -> tuple[list[Path], np.ndarray, np.ndarray, dict[Path, str]]:
    """Read and classify pictures, some at a time.

    Returns:
        the files that were read, their images, uint8 (n, 32, 32, 3), their class probabilities,
        float32 (n, 10), and the reason for each file that cannot be read.
    """
    # TensorFlow takes seconds to start; what is wrong with the arguments is told before.
    from stages.evaluate.inference import load_model, predict

    model = load_model(model_path)
    known: list[Path] = []
    unreadable: dict[Path, str] = {}
    images, probabilities = [np.empty((0, 32, 32, 3), np.uint8)], [np.empty((0, 10), np.float32)]
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(paths), BATCH_SIZE):
            some = paths[start : start + BATCH_SIZE]
            readings = dict(zip(some, pool.map(attempt, some), strict=True))
            unreadable |= {path: r for path, r in readings.items() if isinstance(r, str)}
            read_now = {path: r for path, r in readings.items() if not isinstance(r, str)}
            if read_now:
                images.append(np.stack([*read_now.values()]))
                answers, _ = predict(model, images[-1] / np.float32(255), tta, BATCH_SIZE)
                probabilities.append(answers)
                known += [*read_now]
    return known, np.concatenate(images), np.concatenate(probabilities), unreadable


def table(paths: list[Path], probabilities: np.ndarray, top: int) -> pd.DataFrame:
    """Give a row for each file and each of its likeliest classes, the likeliest first."""
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
    return pd.DataFrame(
        {
            "file": [str(path) for path in paths for _ in range(order.shape[1])],
            "rank": np.tile(np.arange(1, order.shape[1] + 1), len(paths)),
            "class": np.asarray(CLASSES)[order].ravel(),
            "probability": np.take_along_axis(probabilities, order, axis=1).ravel(),
        }
    )


def as_text(rows: pd.DataFrame) -> str:
    """Give a line for each file."""
    width = max(map(len, rows["file"]), default=0)
    shown = rows["class"].str.ljust(10) + rows["probability"].map(" {:6.1%}".format)
    lines = shown.groupby(rows["file"], sort=False).agg("  ".join)
    return "\n".join(f"{file:{width}}  {line}" for file, line in lines.items())


def main() -> None:
    arguments = parse()
    if not 1 <= arguments.top <= len(CLASSES):
        raise InputError(f"--top {arguments.top}: allowed are 1 to {len(CLASSES)}")
    if not arguments.model.exists():
        raise InputError(f"{arguments.model}: missing; `dvc repro` or `dvc pull` brings a model")
    # Named twice, a file is classified once.
    paths = [*dict.fromkeys(files(arguments.paths))]
    if not paths:
        raise InputError(f"{', '.join(map(str, arguments.paths))}: no pictures in there")
    known, images, probabilities, unreadable = classify(paths, arguments.model, arguments.tta)

    rows = table(known, probabilities, arguments.top)
    if arguments.json:
        print(json.dumps(rows.to_dict("records"), indent=2))
    elif arguments.csv:
        print(rows.to_csv(index=False, float_format="%.6f"), end="")
    elif len(rows):
        print(as_text(rows))
    if arguments.figure:
        best = rows[rows["rank"] == 1]
        titles = [
            f"{path.name[:24]}\n{name} {share:.1%}"
            for path, name, share in zip(known, best["class"], best["probability"], strict=True)
        ]
        colours = ["black"] * len(titles)
        sheet = grid(images, titles, colours, f"{len(known)} pictures", SHEET_COLUMNS, SHEET_DPI)
        save(sheet, arguments.figure, SHEET_DPI)
    for path, reason in unreadable.items():
        print(f"unreadable: {path}: {reason}", file=sys.stderr)
    sys.exit(1 if unreadable else 0)


if __name__ == "__main__":
    exit_with_message(main)
