"""Convert the trained model for LiteRT, which runs it on phones, small computers and servers.

Neither TensorFlow nor Keras is needed there. The file takes images, float32 (n, side, side, 3) in
[0, 1], for any n, and returns class probabilities, float32 (n, classes). With --int8 it computes in
integers of 8 bits in between: a quarter of the size, a third of the time.
"""

import argparse
import errno
import os
import tempfile
from pathlib import Path
from typing import Any

from pipeline.common.paths import MODEL
from pipeline.common.shell import UserError, replacing, run
from pipeline.data.arrays import load

EXPORTED = MODEL.with_suffix(".tflite")
# The first training images, by which --int8 learns what range each layer's values have.
REPRESENTATIVE = 500


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
    parser.add_argument(
        "--int8", action="store_true", help="8-bit integers, their ranges by data/processed/train"
    )
    arguments = parser.parse_args()
    exported = arguments.exported
    if exported.suffix != ".tflite":
        raise UserError(f"{exported}: the name must end in .tflite")

    # TensorFlow takes seconds to start; what is wrong with the arguments is told before.
    from pipeline.common.device import quiet_start
    from pipeline.evaluation.predictions import load_model

    import tensorflow as tf  # isort: skip

    model, dataset = load_model(arguments.model)
    how: dict[str, Any] = {}
    if arguments.int8:
        images = load("train")[0][:REPRESENTATIVE]
        if (side := images.shape[1]) != dataset.side:
            found = f"data/processed/train: images of {side} pixels"
            raise UserError(f"{found}; {arguments.model} takes {dataset.side}")
        how = {
            "optimizations": [tf.lite.Optimize.DEFAULT],
            "representative_dataset": lambda: ([image[None]] for image in images),
            "target_spec": {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]},
        }
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
            # The converter tells its settings, which say nothing to a user.
            with quiet_start():
                model.export(unfinished, format="litert", verbose=False, **how)
        except tf.errors.ResourceExhaustedError:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from None
    print(f"{exported}: {exported.stat().st_size:,} bytes")


if __name__ == "__main__":
    run(main)
