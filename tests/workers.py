"""Processes that train together over the loopback, each in a folder of its own."""

import json
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.project import environment_of_tests, run_stage, small_params, write_params

# A worker that is gone is noticed within, seconds.
NOTICED = 15
EPOCHS = 12


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Worker:
    """One of several processes that train together, in a folder of its own."""

    def __init__(self, folder: Path, cluster: list[str], index: int):
        """Start it."""
        task = {"cluster": {"worker": cluster}, "task": {"type": "worker", "index": index}}
        environment = environment_of_tests(TF_CONFIG=json.dumps(task))
        # What the tests' own process has set.
        environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "stages.train"],
            cwd=folder,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def epochs(self, count: int) -> None:
        """Wait until so many epochs have ended."""
        assert self.process.stdout
        while count:
            line = self.process.stdout.readline()
            assert line, self.process.communicate()
            count -= line.startswith("epoch ")

    def ended(self, seconds: float) -> tuple[int, str]:
        """Wait for its end, and return its exit code and what it said on standard error."""
        _, errors = self.process.communicate(timeout=seconds)
        return self.process.returncode, errors


def start(folders: list[Path]) -> list[Worker]:
    """Start a worker in each folder; the first is the chief."""
    cluster = [f"127.0.0.1:{port}" for port in free_ports(len(folders))]
    return [Worker(folder, cluster, index) for index, folder in enumerate(folders)]


def files(folder: Path) -> dict[str, bytes]:
    """Return what a training has left in a folder, but for its logs."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for name in ("models", "metrics", "plots", ".dvc")
        for path in sorted((folder / name).rglob("*"))
        if path.is_file()
    }


def training_folder(arrays: Path, folder: Path, epochs: int, devices: int | None = None) -> Path:
    """Make a folder with arrays for a training of a tiny tutorial, and return it."""
    params = small_params(arrays) | {"recipe": "tutorial", "devices": devices}
    params["recipes"]["tutorial"] |= {"epochs": epochs, "keep": "best"}
    params["recipes"]["tutorial"]["network"] |= {"filters": [4, 4, 4], "dense_units": 8}
    folder.mkdir()
    (folder / "data").symlink_to(arrays / "data")
    write_params(folder, params)
    return folder


def lose_a_worker(arrays: Path, parent: Path, gone: int, way: signal.Signals) -> None:
    """Send a signal to the chief (0) or the other of two, and check what comes of it.

    The other one says in one line who is gone, and the next start goes on: of the chief alone.
    """
    folders = [training_folder(arrays, parent / name, EPOCHS) for name in ("chief", "worker")]
    workers = start(folders)
    workers[0].epochs(3)
    workers[gone].process.send_signal(way)
    lost = time.monotonic()
    exit_code, errors = workers[1 - gone].ended(60)
    print(f"{way.name} of worker {gone}: noticed after {time.monotonic() - lost:.1f} s")
    assert time.monotonic() - lost < NOTICED
    assert exit_code == 1
    # TensorFlow does not always know who it waits for in vain.
    assert re.fullmatch(
        f"error: (worker {gone}|another worker) is gone; once all workers are started again, "
        "the training goes on after its last finished epoch\n",
        errors,
    )
    workers[gone].process.kill()
    workers[gone].process.communicate()
    assert files(folders[1]) == {}
    history = folders[0] / "plots/history.csv"
    before = history.read_text().splitlines()
    assert 3 <= len(before) < 1 + EPOCHS
    result = run_stage("train", folders[0])
    assert result.returncode == 0, result.stderr
    # It may have been killed between its checkpoint and its history.
    (epoch,) = re.findall(r"^going on after epoch (\d+), from workspace-", result.stdout, re.M)
    assert 0 <= int(epoch) - (len(before) - 1) <= 1
    after = history.read_text().splitlines()
    assert after[: len(before)] == before
    assert len(after) == 1 + EPOCHS
