"""Convert the trained model for LiteRT, which runs it on phones, small computers and servers.

Neither TensorFlow nor Keras is needed there. The file takes images, float32 (n, side, side, 3) in
[0, 1], for any n, and returns class probabilities, float32 (n, classes).
"""

import argparse
import errno
import os
import tempfile
from pathlib import Path

from pipeline.common.paths import MODEL
from pipeline.common.shell import UserError, replacing, run

EXPORTED = MODEL.with_suffix(".tflite")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.export", description=__doc__)
    parser.add_argument("--model", type=Path, default=MODEL, help=f"{MODEL} by default")
    parser.add_argument(
        "exported",
        metavar="FILE",
        type=Path,
        nargs="?",
        default=EXPORTED,
        help=f"{EXPORTED} by default",
    )
    arguments = parser.parse_args()
    exported = arguments.exported
    if exported.suffix != ".tflite":
        raise UserError(f"{exported}: the name must end in .tflite")

    # TensorFlow takes seconds to start; what is wrong with the arguments is told before.
    from pipeline.evaluation.predictions import load_model

    import tensorflow as tf  # isort: skip

    model, _ = load_model(arguments.model)
    weights = sum(weight.nbytes for weight in model.get_weights())
    exported.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=exported.parent, prefix=".unfinished-") as folder,
        # The weights are there twice meanwhile.
        replacing(exported, 2 * weights) as unfinished,
    ):
        # Keras and TensorFlow convert by way of files, which belong on the disk of the result: a
        # folder for temporary files may be small.
        tempfile.tempdir = folder
        try:
            model.export(unfinished, format="litert", verbose=False)
        except tf.errors.ResourceExhaustedError:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from None
    print(f"{exported}: {exported.stat().st_size:,} bytes")


if __name__ == "__main__":
    run(main)
