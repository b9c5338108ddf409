"""What the stages share.

Importing it keeps what the user has set for TensorFlow, Keras and matplotlib out of the program.
These libraries read variables and files when they are imported. Each such setting could change
results, which record nothing of it, or end a stage, as a notebook's backend of matplotlib does
where it is not installed.
"""

import atexit
import os
import signal
import sys
import warnings
from types import FrameType

# Kernels, precision, threads, backend, types of data.
PREFIXES = ("TF_", "ONEDNN_", "DNNL_", "XLA_", "NVIDIA_TF32_", "KERAS_", "MPLBACKEND")
# What TensorFlow logs, and how it allocates a GPU's memory.
HARMLESS = ("TF_CPP_", "TF_GPU_ALLOCATOR")
for name in [*os.environ]:
    if name.startswith(PREFIXES) and not name.startswith(HARMLESS):
        del os.environ[name]

os.environ |= {
    # Not every processor gets oneDNN by default; without it a step takes about 1.6 times as long.
    "TF_ENABLE_ONEDNN_OPTS": "1",
    "KERAS_BACKEND": "tensorflow",
    # No keras.json is read or written, and no matplotlibrc of the user's is read.
    "KERAS_HOME": os.devnull,
    "MATPLOTLIBRC": os.devnull,
}
# Errors only.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def leave(number: int, frame: FrameType | None) -> None:
    """End with one line where the program is interrupted while it still imports libraries."""
    line = f"error: interrupted by {signal.Signals(number).name}"
    # At the end, since nothing is shown while TensorFlow starts.
    atexit.register(print, line, file=sys.stderr)
    sys.exit(128 + number)


if any(word.startswith(("stages.", "tools.")) for word in sys.orig_argv[2:4]):
    signal.signal(signal.SIGINT, leave)
    signal.signal(signal.SIGTERM, leave)

# PYTHONWARNINGS=error is for programs whose every library is their author's.
warnings.filters = [entry for entry in warnings.filters if entry[0] != "error"]
