"""Whether an NVIDIA driver answers, and why TensorFlow may see no GPU nevertheless.

As a script, which make runs before anything is installed, it fails where no driver answers.
"""

import ctypes
import sys
from importlib.metadata import PackageNotFoundError, version

DRIVER = "libcuda.so.1"
# One of the packages of requirements-gpu.lock, whose libraries TensorFlow opens when it starts.
PACKAGE = "nvidia-cudnn-cu12"


def driver_answers() -> bool:
    """Return whether there is a driver and it finds a GPU that this process may use."""
    try:
        return ctypes.CDLL(DRIVER).cuInit(0) == 0
    except (OSError, AttributeError):
        return False


def why_unseen() -> str:
    """Return why TensorFlow, which sees no GPU, sees none."""
    if not driver_answers():
        return "no GPU is seen"
    try:
        version(PACKAGE)
    except PackageNotFoundError:
        return (
            "an NVIDIA driver answers, but TensorFlow's CUDA packages are missing: `make repro` or "
            "`pip install -r requirements-gpu.lock` installs them"
        )
    return "an NVIDIA driver answers, but TensorFlow sees no GPU: TF_CPP_MIN_LOG_LEVEL=0 shows more"


if __name__ == "__main__":
    sys.exit(not driver_answers())
