"""Names all that the trained weights depend on, so that a checkpoint is used for nothing else."""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np


def fingerprint(settings: object, *arrays: np.ndarray) -> str:
    """Return 32 hexadecimal digits that change with the settings, the data and the code.

    The code is that of the modules of `stages` that are imported by now.

    Args:
        settings: anything that JSON holds: parameters, seed, versions, processor.
        *arrays: the data.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for name, module in sorted(sys.modules.items()):
        if name.split(".")[0] == "stages" and getattr(module, "__file__", None):
            digest.update(Path(str(module.__file__)).read_bytes())
    for array in arrays:
        digest.update(str(array.shape).encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:32]
