"""One trial: a clone of the repository, a DVC experiment in it, and the experiment's way back.

Ray sends these functions to machines that have the project's packages but not its code, so nothing
of the project is imported here.
"""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil
from configobj import ConfigObj
from filelock import FileLock, Timeout

PAUSE = 0.2  # Seconds between two looks at a running trial.
HISTORY = "plots/history.csv"
# Ray sets the first to the number of processors that it has allotted; the training counts them
# itself. By the others, trials would train together instead of each by itself.
LEFT_OUT = re.compile("OMP_NUM_THREADS|TF_CONFIG|SLURM_STEP_.*")


class TrialError(Exception):
    """A trial ended without a result; the message says why, on one line."""


@dataclass(frozen=True)
class Source:
    """Where trials come from and go to.

    Attributes:
        repository: path or address of the Git repository.
        reference: what Git calls the commit there.
        folder: where a machine keeps clones; None is a folder in the user's cache.
        cache: DVC's cache, where the machine has one; None is one beside the clones, which is
            filled from the DVC remote and emptied into it.
        targets: the stages to run; none is all.
        metrics: the metrics files that these stages write.
    """

    repository: str
    reference: str
    folder: str | None
    cache: str | None
    targets: tuple[str, ...]
    metrics: tuple[str, ...]


class Reports(Protocol):
    """Takes what is told of finished epochs."""

    def put(self, item: tuple[str, int, dict[str, float]]) -> None:
        """Take the name of a trial, the number of an epoch and its row of the history."""


def attempt(
    source: Source,
    name: str,
    overrides: list[str],
    metric: str,
    processors: int,
    reports: Reports | None,
) -> float | str:
    """Run a trial as `run` does; return its metric, or why it failed."""
    try:
        return run(source, name, overrides, metric, processors, reports)
    except TrialError as error:
        return str(error)


def run(
    source: Source,
    name: str,
    overrides: list[str],
    metric: str,
    processors: int,
    reports: Reports | None,
) -> float:
    """Run an experiment in a clone, bring it back to the repository, and return its metric.

    What an earlier try of the same trial left behind on this machine is used: a training goes on
    after its last finished epoch.

    Args:
        source: the repository.
        name: of the experiment.
        overrides: `KEY=VALUE` of each parameter that differs from the commit.
        metric: the name of a number in one of the metrics files.
        processors: how many to use, of its own; 0 is all, with others.
        reports: is told of each epoch that the history shows.

    Raises:
        TrialError: a command failed, or there is no such metric.
    """
    # Where Ray reaps its workers' children, they ignore it: every exit code would look like 0.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    folder = home(source)
    clone, log = folder / name, folder / f"{name}.log"
    end_processes(clone)
    is_new = make_clone(source, clone)
    sets = [word for override in overrides for word in ("-S", override)]
    pull = [] if source.cache else ["--pull"]
    command = ["dvc", "exp", "run", *pull, "--name", name, *sets, *source.targets]
    # An earlier try may have come to the end of the experiment.
    if is_new or name not in call(["dvc", "exp", "list", "--name-only"], clone).split():
        with own_processors(processors, folder) as own:
            watch(command, clone, log, own, reports)
    value = read_metric(clone, source.metrics, metric)
    keep = ["--no-cache"] if source.cache else []
    call(["dvc", "exp", "push", "--force", *keep, "origin", name], clone)
    shutil.rmtree(clone)
    return value


def home(source: Source) -> Path:
    """Return the folder of this machine for clones, made where it is missing."""
    if source.folder:
        folder = Path(source.folder)
    else:
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(cache, "cifar10-pipeline", "sweeps")
    folder.mkdir(parents=True, exist_ok=True)
    # As the operating system names the folders that processes work in.
    return folder.resolve()


def make_clone(source: Source, clone: Path) -> bool:
    """Check the commit out in a folder of its own; return False where that was done before."""
    ready = clone / ".git/checked-out"
    if ready.exists():
        return False
    shutil.rmtree(clone, ignore_errors=True)
    clone.mkdir()
    call(["git", "init", "--quiet"], clone)
    call(["git", "remote", "add", "origin", source.repository], clone)
    call(["git", "fetch", "--quiet", "origin", source.reference], clone)
    call(["git", "checkout", "--quiet", "--detach", "FETCH_HEAD"], clone)
    cache = source.cache or str(clone.parent / "cache")
    # A copy of the arrays for each trial would fill the disk.
    links = "reflink,hardlink,symlink"
    config = ConfigObj(str(clone / ".dvc/config.local"), encoding="utf-8", create_empty=True)
    config["cache"] = {"dir": cache, "type": links}
    config.write()
    if source.cache:
        call(["dvc", "checkout", "--quiet", "--allow-missing"], clone)
    ready.touch()
    return True


def watch(
    command: list[str], clone: Path, log: Path, processors: set[int], reports: Reports | None
) -> None:
    """Run a command to its end, and tell of each epoch that it finishes.

    Whatever ends this function ends the command and all that it has started.
    """
    history = clone / HISTORY
    before = history.stat().st_mtime_ns if history.exists() else 0
    told = 0
    with log.open("a") as output:
        process = subprocess.Popen(
            command,
            cwd=clone,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            if processors:
                os.sched_setaffinity(process.pid, processors)
            while process.poll() is None:
                time.sleep(PAUSE)
                # DVC removes it before the training starts.
                with suppress(FileNotFoundError):
                    # An empty queue of Ray is false.
                    if reports is not None and history.stat().st_mtime_ns != before:
                        rows = [*csv.DictReader(history.read_text().splitlines())]
                        for row in rows[told:]:
                            row.pop("recipe", None)
                            values = {column: float(value) for column, value in row.items()}
                            reports.put((clone.name, int(values["epoch"]), values))
                        told = len(rows)
        finally:
            end_processes(clone)
    if process.returncode:
        raise TrialError(f"{reason(log.read_text(errors='replace'))} (all of it: {log})")


def end_processes(clone: Path) -> None:
    """Kill what works in a clone: of a try that was given up, or whose worker was killed."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(clone):
                process.kill()
                found.append(process)
        except psutil.Error:
            continue
    psutil.wait_procs(found)


@contextmanager
def own_processors(count: int, folder: Path) -> Iterator[set[int]]:
    """Yield the numbers of processors that no other trial in this folder uses.

    No numbers where the operating system cannot tie a process to some, or too few are free.
    """
    numbers = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    with ExitStack() as locks:
        own: set[int] = set()
        for number in numbers:
            if len(own) == count:
                break
            try:
                locks.enter_context(FileLock(folder / f"processor-{number}.lock", timeout=0))
                own.add(number)
            except Timeout:
                continue
        if len(own) < count:
            locks.close()
            own = set()
        yield own


def read_metric(clone: Path, files: tuple[str, ...], metric: str) -> float:
    """Return a number of some metrics files in a clone.

    Raises:
        TrialError: there is none of that name.
    """
    numbers = {
        name: value
        for file in files
        for name, value in json.loads((clone / file).read_text()).items()
        if isinstance(value, int | float)
    }
    if metric not in numbers:
        raise TrialError(f"--metric {metric}: no metric; allowed are {', '.join(numbers)}")
    return float(numbers[metric])


def call(command: list[str], clone: Path) -> str:
    """Run a command and return what it prints.

    Raises:
        TrialError: it failed.
    """
    done = subprocess.run(command, cwd=clone, env=environment(), text=True, capture_output=True)
    if done.returncode:
        raise TrialError(f"{' '.join(command[:3])}: {reason(done.stderr or done.stdout)}")
    return done.stdout


def environment() -> dict[str, str]:
    """Return the environment of a command: with this interpreter's programs, first of all."""
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    kept = {name: value for name, value in os.environ.items() if not LEFT_OUT.fullmatch(name)}
    return kept | {"PATH": programs}


def reason(output: str) -> str:
    """Return the line of an output that says why a command failed."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    for start in ("error:", "ERROR:", "fatal:"):
        for line in lines:
            if line.startswith(start):
                return line.removeprefix(start).strip()
    return lines[-1] if lines else "it failed without a word"
