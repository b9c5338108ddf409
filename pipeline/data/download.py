"""Downloads by HTTP and from npm, which end where they stall or grow too large.

Each one has a folder of its own. What a broken one leaves there, the next attempt or run resumes.
"""

import contextlib
import shutil
import subprocess
import time
from pathlib import Path

import requests
import urllib3
from tqdm import tqdm

from pipeline.common.config import Fetch
from pipeline.common.shell import check_room, one_line

# Whatever the user's settings of npm are: nothing of the package is run, it does arrive, and what
# npm complains of can be shown in one line.
NPM = "npm pack --ignore-scripts --dry-run=false --workspaces=false --global=false --json=false "
NPM += "--color=false --loglevel=error"


class SourceError(Exception):
    """A source does not deliver, and would not the next time either; the message says why."""


class StallError(Exception):
    """A download stalled or broke off; the next attempt may get further."""


class Transfer(tqdm):
    """The bar of a download, which watches its size and its rate."""

    def __init__(self, name: str, limits: Fetch, total: int = 0, done: int = 0):
        # disable=None: no bar where standard error is not a terminal.
        super().__init__(None, name, total, initial=done, unit="B", unit_scale=True, disable=None)
        self.limits, self.done, self.window = limits, done, (time.monotonic(), done)

    def reach(self, done: int) -> None:
        """Take note that `done` bytes are here; raise where these are too many, or came slowly."""
        self.update(done - self.done)
        self.done = done
        if max(done, self.total or 0) > self.limits.maximum_bytes:
            raise SourceError(f"larger than fetch.maximum_bytes = {self.limits.maximum_bytes}")
        now = time.monotonic()
        start, before = self.window
        if now - start >= self.limits.stall_seconds:
            rate = (done - before) / (now - start)
            if rate < self.limits.minimum_rate:
                below = f"below fetch.minimum_rate = {self.limits.minimum_rate}"
                raise StallError(f"stalled: {rate:.0f} bytes/s over {now - start:.0f} s, {below}")
            self.window = now, done


def download(url: str, folder: Path, limits: Fetch) -> Path:
    """Bring what `url` serves into `folder`, resuming what is there of it.

    Raises:
        SourceError: it is refused or too large.
        StallError: no attempt came to its end.
        UserError: there is no room for it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    reason = ""
    for attempt in range(limits.attempts):
        time.sleep(min(2**attempt / 2, 10) if attempt else 0)
        try:
            return transfer(url, folder / "part", limits)
        except (StallError, requests.RequestException, urllib3.exceptions.HTTPError) as error:
            reason = cause(error)
    raise StallError(f"{reason} (attempts: {limits.attempts})")


def transfer(url: str, part: Path, limits: Fetch) -> Path:
    # Were the file on the server another by now, its SHA-256 would tell.
    start = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with requests.get(url, headers=headers, stream=True, timeout=limits.stall_seconds) as response:
        status = response.status_code
        if status == 416 and start:
            # A run was killed after the last byte.
            return part
        if status >= 400:
            for_good = status < 500 and status not in (408, 429)
            raise (SourceError if for_good else StallError)(f"HTTP {status} {response.reason}")
        start = start if status == 206 else 0
        total = start + int(response.headers.get("Content-Length", 0))
        with (
            Transfer(url.rsplit("/")[-1], limits, total, start) as bar,
            part.open("ab" if start else "wb") as file,
        ):
            bar.reach(start)
            check_room(part, total - start)
            # read1 returns what has arrived; read would wait for a whole chunk.
            while chunk := response.raw.read1(1 << 18):
                file.write(chunk)
                bar.reach(bar.done + len(chunk))
    return part


def cause(error: BaseException) -> str:
    """Return what is at the bottom of an exception of requests or urllib3."""
    where = "proxy: " if isinstance(error, requests.exceptions.ProxyError) else ""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return where + one_line(error)


def pack(package: str, folder: Path, limits: Fetch) -> Path:
    """Bring the archive of `package` (name@version) by npm itself, so that its settings hold.

    Raises:
        SourceError: npm is not installed, fails, or brings too much.
        StallError: it stalls.
    """
    if shutil.which("npm") is None:
        raise SourceError("npm is not installed")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    # A cache of its own makes the growing download visible, which npm does not report.
    command = [*NPM.split(), f"--pack-destination={folder}", f"--cache={folder / 'cache'}"]
    command += [f"--fetch-retries={limits.attempts - 1}", "--", package]
    npm = subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        with Transfer(package, limits) as bar:
            while npm.poll() is None:
                time.sleep(0.1)
                # A file that vanishes meanwhile counts when the next look is taken.
                with contextlib.suppress(FileNotFoundError):
                    size = sum(path.stat().st_size for path in folder.rglob("*"))
                    bar.reach(max(bar.done, size))
    finally:
        npm.kill()
        _, complaints = npm.communicate()
    archives = [*folder.glob("*.tgz")]
    if npm.returncode or not archives:
        lines = complaints.strip().splitlines() or [f"no archive, exit code {npm.returncode}"]
        raise SourceError(" ".join(line.removeprefix("npm error ").strip() for line in lines[:2]))
    return archives[0]
