"""Classify pictures with the trained model.

Takes pictures of any format, size and mode that Pillow reads, and all of those in a folder and its
subfolders.
"""

import argparse
import json
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import get_args

import numpy as np

from stages.cifar10 import CLASSES
from stages.errors import InputError, exit_with_message, printable
from stages.evaluate.params import Tta
from tools.predict.answers import as_text, table
from tools.predict.reading import attempt
from tools.predict.search import files

MODEL = Path("models/model.keras")
BATCH_SIZE = 1000


def named(path: str) -> Path:
    """Return a path; refuse the empty one, which would be the current folder."""
    if not path:
        raise argparse.ArgumentTypeError("an empty name")
    return Path(path)


def parse() -> argparse.Namespace:
    """Return the arguments from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tools predict", description=__doc__)
    parser.add_argument("paths", metavar="IMAGE_OR_FOLDER", type=named, nargs="+")
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


def classify(
    paths: list[Path], model_path: Path, tta: Tta
) -> tuple[list[Path], np.ndarray, dict[Path, str]]:
    """Read and classify pictures, some at a time.

    Returns:
        the files that were read, their class probabilities, float32 (n, 10), and the reason for
        each file that cannot be read.
    """
    # TensorFlow takes seconds to start; what is wrong with the arguments is told before.
    from stages.evaluate.inference import check_probabilities, load_model, predict
    from stages.start import quiet_start

    model = load_model(model_path)
    known: list[Path] = []
    unreadable: dict[Path, str] = {}
    probabilities = [np.empty((0, 10), np.float32)]
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(paths), BATCH_SIZE):
            some = paths[start : start + BATCH_SIZE]
            # Libraries of decoders print of themselves, without the name of the file.
            with quiet_start():
                readings = dict(zip(some, pool.map(attempt, some), strict=True))
            unreadable |= {path: r for path, r in readings.items() if isinstance(r, str)}
            read_now = {path: r for path, r in readings.items() if not isinstance(r, str)}
            if read_now:
                batch = np.stack([*read_now.values()])
                answers, plain = predict(model, batch / np.float32(255), tta, BATCH_SIZE)
                for given in (answers, plain):
                    check_probabilities(given, model_path)
                probabilities.append(answers)
                known += [*read_now]
    return known, np.concatenate(probabilities), unreadable


def main() -> None:
    """Print what the model takes each picture for."""
    arguments = parse()
    if not 1 <= arguments.top <= len(CLASSES):
        raise InputError(f"--top {arguments.top}: allowed are 1 to {len(CLASSES)}")
    if not arguments.model.exists():
        raise InputError(f"{arguments.model}: missing; `dvc repro` or `dvc pull` brings a model")
    if arguments.figure and arguments.figure.suffix.lower() != ".png":
        raise InputError(f"--figure {arguments.figure}: the name must end in .png")
    if arguments.figure and arguments.figure.is_dir():
        raise InputError(f"--figure {arguments.figure}: a folder")
    # Pillow's, of oddities in pictures that it can read.
    warnings.simplefilter("ignore")
    # Named twice, a file is classified once.
    paths = [*dict.fromkeys(files(arguments.paths))]
    if not paths:
        raise InputError(f"{', '.join(map(str, arguments.paths))}: no pictures in there")
    known, probabilities, unreadable = classify(paths, arguments.model, arguments.tta)

    rows = table(known, probabilities, arguments.top)
    if arguments.json:
        print(json.dumps(rows.to_dict("records"), indent=2))
    elif arguments.csv:
        print(rows.to_csv(index=False, float_format="%.6f"), end="")
    elif len(rows):
        print(as_text(rows, arguments.top))
    if arguments.figure:
        best = rows[rows["rank"] == 1]
        shares = best["probability"].to_list()
        # Matplotlib takes a while to start.
        from tools.predict.sheet import write_sheet

        write_sheet(arguments.figure, known, best["class"].to_list(), shares)
    for path, reason in unreadable.items():
        print(f"unreadable: {printable(str(path))}: {reason}", file=sys.stderr)
    sys.exit(1 if unreadable else 0)


if __name__ == "__main__":
    exit_with_message(main)
