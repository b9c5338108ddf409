"""Trials as tasks of Ray, which starts them where processors and GPUs are free.

A task whose worker or machine is lost is started again, elsewhere if need be.
"""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from logging import CRITICAL
from types import FrameType
from typing import Any

# Ray reads them when it is imported: no reports to its makers; a trial without GPUs may see them.
os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
import ray
from ray.util.queue import Queue

from stages.errors import SIGNALS, InputError, in_one_line
from stages.processors import usable
from tools.sweep import trial
from tools.sweep.trial import Source

# What a training takes at most, for Ray not to start more than the memory holds.
MEMORY = 4 * 1024**3
STORE = 100 * 1024**2  # Bytes, for results that are single numbers.
RETRIES = 3
PAUSE = 0.5  # Seconds for which to wait for the end of a trial before looking at its epochs.
PATIENCE = 10.0  # Seconds for a machine to answer, or a cancelled trial to end.


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Start Ray on this machine, or join the cluster at an address, and leave it afterwards.

    Raises:
        InputError: no cluster answers there.
    """
    if address and ":" in address:
        # Ray itself would try for half a minute.
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=PATIENCE).close()
        except (OSError, ValueError) as error:
            raise InputError(f"--address {address}: {in_one_line(error)}") from None
    size: dict[str, Any] = {}
    if not address:
        size = {"num_cpus": usable(), "object_store_memory": STORE, "include_dashboard": False}
    try:
        ray.init(address=address or "local", log_to_driver=False, logging_level=CRITICAL, **size)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise InputError(f"--address {address}: {in_one_line(error)}") from None
    # The machines have the project's packages, not its code.
    ray.cloudpickle.register_pickle_by_value(trial)
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def signals_kept() -> Iterator[list[int]]:
    """Yield a list of the signals that ask to end; each once, a second one ends at once.

    An exception that a signal's handler raises within a call of Ray breaks that call.
    """
    caught: list[int] = []

    def keep(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        caught.append(number)

    before = {number: signal.signal(number, keep) for number in SIGNALS}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def needs(processors: int | None, gpus: float | None) -> dict[str, float]:
    """Return what a trial takes of a machine: by default one GPU where there are any.

    By default a trial takes one processor, or an equal share of them for each GPU.

    Raises:
        InputError: no machine has as much.
    """
    total = ray.cluster_resources()
    if gpus is None:
        gpus = min(total.get("GPU", 0), 1)
    if processors is None:
        of_each = total["CPU"] / total["GPU"] if total.get("GPU") else 1
        processors = max(1, int(of_each * gpus)) if gpus else 1
    needed = {"CPU": processors, "GPU": gpus, "memory": MEMORY}
    if not slots(needed):
        raise InputError(
            f"--cpus {processors} --gpus {gpus:g}: no machine has these and 4 GiB of memory; "
            f"together they have {total.get('CPU', 0):g} processors, {total.get('GPU', 0):g} GPUs "
            f"and {total.get('memory', 0) / 1024**3:.0f} GiB"
        )
    return needed


def slots(needed: dict[str, float]) -> int:
    """Return how many trials the machines that are alive can run at once."""
    return sum(
        min(
            int(node["Resources"].get(kind, 0) // amount)
            for kind, amount in needed.items()
            if amount
        )
        for node in ray.nodes()
        if node["Alive"]
    )


class Running:
    """The trials that run on the cluster, by the name of their experiment."""

    def __init__(self, source: Source, metric: str, needed: dict[str, float], prune: bool):
        """Take what all trials have in common."""
        self.source, self.metric, self.needed = source, metric, needed
        self.reports = Queue(actor_options={"num_cpus": 0}) if prune else None
        self.tasks: dict[Any, str] = {}

    def start(self, name: str, overrides: list[str]) -> None:
        """Start a trial as soon as a machine is free."""
        # Without a GPU of its own, a trial shares the machine's processors with others.
        processors = 0 if self.needed["GPU"] else int(self.needed["CPU"])
        attempt = ray.remote(
            num_cpus=self.needed["CPU"],
            num_gpus=self.needed["GPU"],
            memory=self.needed["memory"],
            max_retries=RETRIES,
        )(trial.attempt)
        task = attempt.remote(self.source, name, overrides, self.metric, processors, self.reports)
        self.tasks[task] = name

    def is_full(self) -> bool:
        """Say whether another trial would have to wait."""
        return len(self.tasks) >= slots(self.needed)

    def ended(self) -> list[tuple[str, float | str]]:
        """Return which trials have ended by now: the metric of each, or why it failed."""
        done, _ = ray.wait([*self.tasks], timeout=PAUSE)
        return [(self.tasks.pop(task), result(task)) for task in done]

    def epochs(self) -> list[tuple[str, int, dict[str, float]]]:
        """Return the epochs that have ended since the last call: trial, number, history's row."""
        return (
            self.reports.get_nowait_batch(self.reports.size()) if self.reports is not None else []
        )

    def stop(self, name: str | None = None) -> None:
        """End a trial, or all, and wait until its commands have ended too."""
        tasks = [task for task, running in self.tasks.items() if name in (None, running)]
        for task in tasks:
            ray.cancel(task, force=False)
        ray.wait(tasks, num_returns=len(tasks), timeout=PATIENCE)
        for task in tasks:
            del self.tasks[task]


def result(task: Any) -> float | str:
    """Return the metric of a task that has ended, or why it failed, on one line."""
    try:
        return ray.get(task)
    except ray.exceptions.RayError as error:
        return in_one_line(str(error).strip().rpartition("\n")[2])
