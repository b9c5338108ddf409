"""Classify pictures with the trained model.

Takes JPEG, PNG, GIF, WebP, AVIF, BMP and TIFF of any size, and all of those in a folder and its
subfolders. Where subfolders bear the names of classes, it tells how many answers are right, too.
"""

import argparse
import csv
import json
import re
import sys
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, get_args

import numpy as np
from tqdm import tqdm

from pipeline.common.config import Views
from pipeline.common.paths import MODEL
from pipeline.common.shell import UserError, one_line, run
from pipeline.data.pictures import attempt, files

BATCH_SIZE = 1000
# Of the contact sheet: pictures in a row, pixels per inch and of a picture's side, and pictures in
# all, since matplotlib draws at most 65,535 pixels in one direction.
COLUMNS, DPI, SHEET_SIDE, MOST_ON_SHEET = 6, 150, 192, 1200


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.predict", description=__doc__)
    parser.add_argument("paths", metavar="IMAGE_OR_FOLDER", nargs="+")
    parser.add_argument("--model", type=Path, default=MODEL, help=f"{MODEL} by default")
    parser.add_argument("--top", type=int, default=3, metavar="K", help="classes; 3 by default")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="a contact sheet, PNG")
    parser.add_argument(
        "--tta", choices=get_args(Views), default="none", help="views averaged; none by default"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON instead of a table")
    form.add_argument("--csv", action="store_true", help="print CSV instead of a table")
    arguments = parser.parse_args()
    figure = arguments.figure
    if arguments.top < 1:
        raise UserError(f"--top {arguments.top}: allowed are 1 and more")
    if figure and (figure.suffix.lower() != ".png" or figure.is_dir()):
        raise UserError(f"--figure {figure}: allowed is a file whose name ends in .png")
    # Pillow's, of oddities in pictures that it can read.
    warnings.simplefilter("ignore")
    # Named twice, a file is classified once.
    folders = dict(files(arguments.paths))
    if not folders:
        raise UserError(f"{one_line(', '.join(arguments.paths))}: no pictures in there")

    classes, results = classify([*folders], arguments.model, arguments.tta)
    known = {path: given for path, given in results.items() if not isinstance(given, str)}
    rows: list[dict[str, Any]] = [
        {"file": str(path), "rank": rank, "class": classes[i], "probability": float(shares[i])}
        for path, shares in known.items()
        for rank, i in enumerate(np.argsort(-shares, kind="stable")[: arguments.top], start=1)
    ]
    best = {Path(row["file"]): row["class"] for row in rows if row["rank"] == 1}
    if arguments.json:
        print(json.dumps(rows, indent=2))
    elif arguments.csv:
        table = csv.DictWriter(
            sys.stdout, ["file", "rank", "class", "probability"], lineterminator="\n"
        )
        table.writeheader()
        table.writerows(row | {"probability": f"{row['probability']:.6f}"} for row in rows)
    else:
        width = max((len(printable(path)) for path in known), default=0)
        class_width = max(map(len, classes))
        for name, group in groupby(rows, key=lambda row: row["file"]):
            cells = [f"{row['class']:{class_width}} {row['probability']:6.1%}" for row in group]
            print(f"{printable(name):{width}}", *cells, sep="  ")
    # By its path, so that of folders in folders the innermost counts.
    pairs = {
        path: (part, predicted)
        for path, predicted in best.items()
        if (folder := folders[path])
        for part in path.relative_to(folder).parts[:-1]
        if part in classes
    }
    if pairs:
        # Whoever reads JSON or CSV reads nothing else.
        print(
            accuracy([*pairs.values()]),
            file=sys.stderr if arguments.json or arguments.csv else sys.stdout,
        )
    if figure and known:
        write_sheet(figure, {p: f"{name} {known[p].max():.1%}" for p, name in best.items()})
    unreadable = {path: reason for path, reason in results.items() if isinstance(reason, str)}
    # What is wrong stands below the answers, also where both go to one file.
    sys.stdout.flush()
    for path, reason in unreadable.items():
        print(f"unreadable: {printable(path)}: {reason}", file=sys.stderr)
    if unreadable:
        sys.exit(1)


def classify(
    paths: list[Path], model_path: Path, tta: Views
) -> tuple[tuple[str, ...], dict[Path, np.ndarray | str]]:
    """Return the model's classes, and of each file their probabilities or why it is unreadable."""
    # TensorFlow takes seconds to start; what is wrong with the arguments is told before.
    from pipeline.common.device import quiet_start
    from pipeline.evaluation.predictions import check_probabilities, load_model, predict

    model, dataset = load_model(model_path)
    results: dict[Path, np.ndarray | str] = {}
    starts = range(0, len(paths), BATCH_SIZE)
    with ThreadPoolExecutor() as pool:
        # disable=None: no bar where standard error is not a terminal.
        for start in tqdm(starts, "predict", leave=False, unit="batch", disable=None):
            some = paths[start : start + BATCH_SIZE]
            # Libraries of decoders print of themselves, without the name of the file.
            with quiet_start():
                readings = [*pool.map(partial(attempt, side=dataset.side), some)]
            results |= zip(some, readings, strict=True)
            images = {path: results[path] for path in some if not isinstance(results[path], str)}
            if images:
                batch = np.stack([*images.values()]) / np.float32(255)
                averaged, one_view = predict(model, batch, tta, BATCH_SIZE)
                check_probabilities(one_view, model_path)
                results |= zip(images, averaged, strict=True)
    return dataset.classes, results


def printable(path: object) -> str:
    """Return a path as it is on disk, but for line ends and what else steers a terminal."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", lambda found: ascii(found[0])[1:-1], str(path))


def accuracy(pairs: list[tuple[str, str]]) -> str:
    """Say how often two names of classes, the actual and the predicted, agree, and how they differ.

    The actual ones are those of folders.
    """
    # SciPy takes a while to start.
    from pipeline.evaluation.metrics import accuracy_with_interval

    right = np.array([actual == predicted for actual, predicted in pairs])
    found = "accuracy {accuracy:.2%}, 95 % interval {accuracy_low:.2%} to {accuracy_high:.2%}"
    line = f"{found.format(**accuracy_with_interval(right))}, {len(pairs):,} pictures"
    wrong = Counter(
        f"{actual} as {predicted}" for actual, predicted in pairs if actual != predicted
    )
    most = ", ".join(f"{pair} {count:,}" for pair, count in wrong.most_common(5))
    return f"{line}\nconfused most: {most}" if wrong else line


def write_sheet(file: Path, answers: dict[Path, str]) -> None:
    """Write a contact sheet of the first pictures, each with its name and the answer."""
    # Matplotlib takes a while to start.
    from pipeline.figures import image_grid, save

    shown = [*answers][:MOST_ON_SHEET]
    with ThreadPoolExecutor() as pool:
        readings = dict(zip(shown, pool.map(partial(attempt, side=SHEET_SIDE), shown), strict=True))
    for path, image in readings.items():
        if isinstance(image, str):
            raise UserError(f"{printable(path)}: {image}")
    titles = [f"{one_line(path.name)[:24]}\n{answers[path]}" for path in shown]
    heading = f"{len(shown):,} of {len(answers):,} pictures"
    images = np.stack([*readings.values()])
    save(image_grid(images, titles, heading, COLUMNS, DPI), file, DPI)


if __name__ == "__main__":
    run(main)
