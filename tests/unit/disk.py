"""A disk with as much room as a test wants, and what is said where there is too little."""

import errno
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

NO_SPACE = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def leave_free(patch: pytest.MonkeyPatch, size: int) -> None:
    """Let every disk have `size` bytes free."""

    def disk_usage(folder: Path) -> SimpleNamespace:
        # As the real one, which knows nothing of a file that is yet to be.
        assert Path(folder).is_dir()
        return SimpleNamespace(free=size)

    patch.setattr(shutil, "disk_usage", disk_usage)
