"""One trial: a clone of the repository, a DVC experiment in it, and the experiment's way back.

Ray sends this to machines that have the project's packages but not its code, so nothing of the
project is imported here.
"""

import csv
import hashlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from configobj import ConfigObj
from filelock import FileLock

PAUSE = 0.5  # Seconds between two looks at a running trial.
HISTORY = "plots/history.csv"
# In the user's cache, on the machines of a cluster.
CLONES = "cifar10-pipeline/sweeps"

Values = dict[str, Any]  # One value for each key.
News = Generator[dict[str, Any], None, None]


class TrialError(Exception):
    """A trial ended without a result; the message says why, on one line."""


@dataclass(frozen=True)
class Source:
    """Where the trials of a sweep come from and go to."""

    sweep: str  # Its name.
    metric: str  # A number in one of the metrics files.
    repository: str  # Path or address.
    revision: str  # The commit, or a reference to it.
    folder: str | None  # For clones; None is the user's cache.
    cache: str | None  # DVC's; None is one beside the clones, filled from the DVC remote.
    targets: list[str]  # The stages to run; none is all.
    metrics: list[str]  # The metrics files that these stages write.
    stale: list[str]  # The files in Git that only others write: they would be the commit's.
    prefix: str = ""  # The project's folder in the Git repository; empty where it is that itself.

    @property
    def mode(self) -> str:
        """Return which metric is best, as Ray Tune says it."""
        return "min" if "loss" in self.metric or "error" in self.metric else "max"


def as_overrides(values: Values) -> list[str]:
    return [f"{key}={written(value)}" for key, value in values.items()]


def written(value: object) -> str:
    # Of a drawn number, four digits say enough.
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def digest(*facts: object) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:6]


def experiment(sweep: str, values: Values) -> str:
    """Return the name of the experiment that tries some values in a sweep."""
    return f"{sweep}-{digest(sorted(as_overrides(values)))}"


def line(source: Source, values: Values, result: float | str, why: str = "") -> str:
    """Return what became of a trial: its result, its values, its experiment, and why."""
    name, overrides = experiment(source.sweep, values), " ".join(as_overrides(values))
    return f"{result!s:8}  {overrides}  ({name}){f': {why}' if why else ''}"


def attempt(values: Values, source: Source, processors: int) -> News:
    """Run an experiment in a clone and bring it back to the repository.

    It goes on where an earlier try on this machine was stopped. Closing the iterator ends it.

    Yields:
        Every moment nothing, or an `epoch` that has ended and its metric; at last `done`, the
        metric, and why it `failed`, if it did.
    """
    # Where Ray reaps its workers' children, they ignore it: every exit code would look like 0.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    # As the operating system names the folders that processes work in.
    folder = Path(source.folder or Path(cache, CLONES)).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    name = experiment(source.sweep, values)
    clone = folder / name
    project = clone / source.prefix
    sets = [word for override in as_overrides(values) for word in ("-S", override)]
    pull, keep = ([], ["--no-cache"]) if source.cache else (["--pull"], [])
    command = ["dvc", "exp", "run", *pull, "--name", name, *sets, *source.targets]
    end: dict[str, Any] = {"done": True, "failed": "", "epoch": 0, source.metric: math.nan}
    try:
        # An estimator may choose what runs already.
        with FileLock(f"{clone}.lock"):
            is_new = make_clone(source, clone)
            # An earlier try may have come to the end of the experiment.
            if is_new or name not in call(["dvc", "exp", "list", "--name-only"], project).split():
                log = Path(f"{clone}.log")
                for news in watch(command, project, log, source.metric, processors):
                    yield news
                    end["epoch"] = news.get("epoch", end["epoch"])
            numbers: dict[str, Any] = {}
            for file in source.metrics:
                numbers |= json.loads((project / file).read_text())
            if source.metric not in numbers:
                raise TrialError(f"--metric {source.metric}: there are {', '.join(numbers)}")
            call(["dvc", "exp", "push", "--force", *keep, "origin", name], project)
            shutil.rmtree(clone)
        yield end | {source.metric: float(numbers[source.metric])}
    except TrialError as error:
        yield end | {"failed": str(error)}


def make_clone(source: Source, clone: Path) -> bool:
    """Check the commit out in a folder of its own; return False where that was done before."""
    end_processes(clone)
    ready = clone / ".git/checked-out"
    if ready.exists():
        return False
    shutil.rmtree(clone, ignore_errors=True)
    clone.mkdir()
    call(["git", "init"], clone)
    # No hooks of the user's; commits without a branch are found; one file for DVC to read.
    settings = {"core.hooksPath": os.devnull, "protocol.version": "2", "core.splitIndex": "false"}
    for key, value in settings.items():
        call(["git", "config", key, value], clone)
    # Without a name, an experiment cannot be committed. Where a user has no entry in passwd, as in
    # some containers, Git makes up none.
    for key, value in {"user.name": "sweep", "user.email": "sweep@localhost"}.items():
        call(["git", "config", key, call(["git", "config", "--default", value, key], clone)], clone)
    call(["git", "remote", "add", "origin", source.repository], clone)
    # The user's clone may be shallow.
    call(["git", "fetch", "--update-shallow", "origin", source.revision], clone)
    call(["git", "checkout", "--detach", "FETCH_HEAD"], clone)
    project = clone / source.prefix
    # `dvc config` would write a folder's # and , as they are. A copy of the arrays for each trial
    # would fill the disk.
    config = ConfigObj(str(project / ".dvc/config.local"), encoding="utf-8", create_empty=True)
    cache = source.cache or str(clone.parent / "cache")
    config["cache"] = {"dir": cache, "type": "reflink,hardlink,symlink"}
    config.write()
    if source.cache:
        call(["dvc", "checkout", "--allow-missing"], project)
    # The experiment would show them as its own results.
    for file in source.stale:
        (project / file).unlink(missing_ok=True)
    ready.touch()
    return True


def watch(command: list[str], project: Path, log: Path, metric: str, processors: int) -> News:
    """Run a command to its end, and tell of each epoch that it finishes."""
    history, told = project / HISTORY, 0
    # The training counts its processors by joblib, which heeds this.
    own = {"LOKY_MAX_CPU_COUNT": f"{processors}"} if processors else {}
    before = rows_of(history)  # The commit's, or an earlier try's.
    with log.open("a") as out:
        streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": out}
        # In a session of its own, out of the reach of the terminal's Ctrl-C.
        process = subprocess.Popen(
            command, cwd=project, env=environment() | own, start_new_session=True, **streams
        )
        try:
            while process.poll() is None:
                time.sleep(PAUSE)
                rows = rows_of(history)
                for row in rows[told:] if rows != before else ():
                    told += 1
                    if metric in row:
                        yield {"epoch": told, metric: float(row[metric])}
                yield {}
        finally:
            end_processes(project)
    if process.returncode:
        raise TrialError(f"{reason(log.read_text(errors='replace'))} (all of it: {log})")


def rows_of(history: Path) -> list[dict[str, str]]:
    # DVC removes it before the training starts.
    with suppress(FileNotFoundError):
        return [*csv.DictReader(history.read_text().splitlines())]
    return []


def end_processes(folder: Path) -> None:
    """Kill what works in or below a folder: of a try that was given up, or whose worker died."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if Path(process.cwd()).is_relative_to(folder):
                process.kill()
                found.append(process)
    psutil.wait_procs(found, timeout=10)


def call(command: list[str], folder: Path) -> str:
    """Return what a command prints; raise a TrialError where it fails."""
    done = subprocess.run(command, cwd=folder, env=environment(), text=True, capture_output=True)
    if done.returncode:
        raise TrialError(f"{' '.join(command[:3])}: {reason(done.stderr or done.stdout)}")
    return done.stdout.strip()


def environment() -> dict[str, str]:
    """Return the environment of a trial's commands: with this interpreter's programs first."""
    # Git would take a hook's repository for the clone. The training counts its threads itself.
    listing = ["git", "rev-parse", "--local-env-vars"]
    left_out = subprocess.run(listing, stdout=subprocess.PIPE, text=True).stdout.split()
    kept = {k: v for k, v in os.environ.items() if k not in (*left_out, "OMP_NUM_THREADS")}
    return kept | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def reason(output: str) -> str:
    """Return the line that says why a command failed, and the remedy where Git names one."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    starts = ("! [", "error: ", "ERROR: ", "fatal: ")
    told = [
        line.removeprefix(start) for start in starts for line in lines if line.startswith(start)
    ]
    remedies = [f"; `{line}`" for line in lines if line.startswith("git config ")]
    return (told or lines[-1:] or ["it failed without a word"])[0] + "".join(remedies[:1])
