"""Names all that the trained weights depend on, so that a checkpoint is used for nothing else."""

import hashlib
import json
import re
from pathlib import Path

import numpy as np

STAGES = Path(__file__).parents[1]
# The files that stages share, and the folders of the training itself.
CODE = ("*.py", "models/**/*.py", "train/**/*.py")
# What editors and merges leave beside a source file, as .dvcignore has it.
LITTER = re.compile(r"(^|/)\.|_(BASE|BACKUP|LOCAL|REMOTE)_")


def fingerprint(settings: object, *arrays: np.ndarray) -> str:
    """Return 32 hexadecimal digits that change with the settings, the data and the code.

    The code is all that a training may import, not what it has imported by now: an optimizer's or
    a schedule's module is imported only when the recipe's parts are put together.

    Args:
        settings: anything that JSON holds: parameters, seed, versions, processor.
        *arrays: the data.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for path in sorted({path for pattern in CODE for path in STAGES.glob(pattern)}):
        name = path.relative_to(STAGES).as_posix()
        if path.is_file() and not LITTER.search(name):
            digest.update(name.encode() + b"\0" + path.read_bytes())
    for array in arrays:
        digest.update(str(array.shape).encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:32]
