"""What a user runs by hand, beside the pipeline.

A regular package: a folder of this name without this file would lose to any package so called that
is installed.
"""

import os
import subprocess
from contextlib import suppress


def forget_callers_repository() -> None:
    """Let Git and DVC, in this process and in those that it starts, look where they run.

    For a hook, an alias or `rebase --exec`, Git names its own repository in variables, which would
    win in every other folder too.
    """
    # Without Git, nothing has set them.
    with suppress(FileNotFoundError):
        listing = subprocess.run(
            ["git", "rev-parse", "--local-env-vars"], stdout=subprocess.PIPE, text=True
        )
        for name in listing.stdout.split():
            os.environ.pop(name, None)


forget_callers_repository()
