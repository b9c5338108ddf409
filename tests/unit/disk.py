"""A disk with as much room as a test wants, and what is said where there is too little."""

import errno
import os
import shutil

import pytest

NO_SPACE = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def leave_free(patch: pytest.MonkeyPatch, size: int) -> None:
    """Let every disk have `size` bytes free."""
    real = shutil.disk_usage
    patch.setattr(shutil, "disk_usage", lambda folder: real(folder)._replace(free=size))
