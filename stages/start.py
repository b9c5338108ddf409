"""Starts TensorFlow and Keras: quietly, with as many threads as there are processors.

To be imported before anything else that imports them.
"""

import gc
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from threadpoolctl import threadpool_limits

from stages import settings as settings  # Before TensorFlow, which reads what it sets.
from stages.processors import usable

# Errors only; of several machines not even these: one that is gone fills the others' screens.
TOGETHER = "TF_CONFIG" in os.environ or int(os.environ.get("SLURM_STEP_NUM_TASKS", 1)) > 1
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3" if TOGETHER else "2")

THREADS = usable()


@contextmanager
def quiet_start() -> Iterator[None]:
    """Keep TensorFlow's messages off standard error, unless TF_CPP_MIN_LOG_LEVEL asks for all.

    While it starts, TensorFlow heeds no log level (tensorflow issue 100442).
    """
    if os.environ["TF_CPP_MIN_LOG_LEVEL"] == "0":
        yield
        return
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@contextmanager
def without(names: Sequence[str]) -> Iterator[None]:
    """Let no import find the packages of these names that have not been imported yet."""
    hidden = [name for name in names if name not in sys.modules]
    for name in hidden:
        # What an import takes as "not there".
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


# Keras imports them where it finds them, for functions that are not used here, which takes a third
# of the start.
OPTIONAL = ("matplotlib", "pandas", "sklearn")
# What the libraries make stays to the end. Collections that look at it again and again take 0.4 s
# of their start, and 0.2 s now and then afterwards.
gc.disable()
with quiet_start(), without(OPTIONAL):
    import keras as keras
    import tensorflow as tf

    GPUS = tf.config.list_physical_devices("GPU")
gc.freeze()
gc.enable()
if os.environ["TF_CPP_MIN_LOG_LEVEL"] != "0":
    # Also of what is written in Python, which heeds no variable.
    tf.get_logger().setLevel("ERROR")

tf.config.threading.set_intra_op_parallelism_threads(THREADS)
tf.config.threading.set_inter_op_parallelism_threads(THREADS)
threadpool_limits(THREADS, "blas")
