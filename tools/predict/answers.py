"""What the model takes each picture for, as a table and as text."""

import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd

from stages.cifar10 import CLASSES


def table(paths: list[Path], probabilities: np.ndarray, top: int) -> pd.DataFrame:
    """Return a row for each file and each of its likeliest classes, the likeliest first."""
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
    return pd.DataFrame(
        {
            # As objects: Arrow's strings hold no names that are not UTF-8.
            "file": pd.Series([str(p) for p in paths for _ in range(order.shape[1])], dtype=object),
            "rank": np.tile(np.arange(1, order.shape[1] + 1), len(paths)),
            "class": np.asarray(CLASSES)[order].ravel(),
            "probability": np.take_along_axis(probabilities, order, axis=1).ravel(),
        }
    )


def on_one_line(name: str) -> str:
    """Return a file's name with line ends and what else steers a terminal escaped."""
    return "".join(ascii(c)[1:-1] if unicodedata.category(c) == "Cc" else c for c in name)


def as_text(rows: pd.DataFrame, top: int) -> str:
    """Return a line for each file."""
    names = [on_one_line(name) for name in rows["file"][::top]]
    width = max(map(len, names), default=0)
    shown = rows["class"].str.ljust(10) + rows["probability"].map(" {:6.1%}".format)
    lines = ["  ".join(shown[start : start + top]) for start in range(0, len(rows), top)]
    return "\n".join(f"{n:{width}}  {line}" for n, line in zip(names, lines, strict=True))
