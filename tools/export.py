"""Convert the trained model into one portable file.

LiteRT runs it on phones, microcontrollers and servers, without TensorFlow or Keras. It takes images
as float32 (n, 32, 32, 3) in [0, 1], for any n, and returns class probabilities, float32 (n, 10).
"""

import argparse
import errno
import os
import tempfile
from pathlib import Path

from stages.errors import InputError, exit_with_message
from stages.files import replacing

MODEL = Path("models/model.keras")
EXPORTED = Path("models/model.tflite")


def main() -> None:
    """Convert the model."""
    parser = argparse.ArgumentParser(prog="python -m tools export", description=__doc__)
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
    if not arguments.model.exists():
        raise InputError(f"{arguments.model}: missing; `dvc repro` or `dvc pull` brings a model")
    if arguments.exported.suffix != ".tflite":
        raise InputError(f"{arguments.exported}: the name must end in .tflite")

    # TensorFlow takes seconds to start; what is wrong with the arguments is told before.
    from stages.evaluate.inference import load_model

    import tensorflow as tf  # isort: skip

    model = load_model(arguments.model)
    weights = sum(weight.nbytes for weight in model.get_weights())
    arguments.exported.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=arguments.exported.parent, prefix=".unfinished-") as folder,
        # The weights are there twice meanwhile.
        replacing(arguments.exported, 2 * weights) as unfinished,
    ):
        # Keras and TensorFlow convert by way of files, which belong on the disk of the result: a
        # folder for temporary files may be small.
        tempfile.tempdir = folder
        try:
            model.export(unfinished, format="litert", verbose=False)
        except tf.errors.ResourceExhaustedError:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from None
    print(f"{arguments.exported}: {arguments.exported.stat().st_size:,} bytes")


if __name__ == "__main__":
    exit_with_message(main)
