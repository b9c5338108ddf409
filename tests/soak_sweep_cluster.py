"""A sweep on a Ray cluster of two nodes: a worker and a node are killed; a search with pruning.

Both nodes are of this machine, so a trial finds what it left behind on whichever it is tried again.
"""

import os
import re
import secrets
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.project import MakeProject, Process, Project, environment_of_tests, start, wait_for
from tests.storage import free_port, listens
from tests.test_sweep import EPOCHS, RATE, kill_worker, trains_below

NODE = ["--num-cpus=1", "--object-store-memory=100000000", "--block"]


@contextmanager
def node(*arguments: str, environment: dict[str, str]) -> Iterator[Process]:
    """Run a node of Ray where there is no project; it is killed in the end."""
    process = start(["ray", "start", *arguments, *NODE], Path("/"), **environment)
    try:
        yield process
    finally:
        kill(process)


def kill(process: Process) -> None:
    """Kill a node, all of it at once, as a machine is lost."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture
def project(reproduced: MakeProject, tmp_path: Path) -> Project:
    """Return a project with a Git remote and a DVC remote that other machines could reach."""
    project = reproduced(tmp_path / "project")
    project.git("init", "--quiet", "--bare", str(tmp_path / "remote.git"))
    project.git("remote", "add", "origin", str(tmp_path / "remote.git"))
    project.dvc("remote", "add", "--default", "storage", str(tmp_path / "storage"))
    project.commit("Name a storage")
    project.dvc("push")
    return project


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Return the environment of all nodes: the same token, a cache of their own."""
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(16)}
    return environment_of_tests(PYTHONPATH="", XDG_CACHE_HOME=str(tmp_path / "cache"), **token)


def test_a_worker_and_a_node_are_killed(
    project: Project, environment: dict[str, str], tmp_path: Path
) -> None:
    port = free_port()
    sweeps = tmp_path / "cache/cifar10-pipeline/sweeps"
    with ExitStack() as nodes:
        head = ["--head", f"--port={port}", "--include-dashboard=false"]
        nodes.enter_context(node(*head, environment=environment))
        wait_for(lambda: listens(port))
        address = f"--address=127.0.0.1:{port}"
        second = nodes.enter_context(node(address, environment=environment))
        time.sleep(10)
        settings = ["-S", f"{RATE}=choice(0.05,0.1,0.2,-1)", "-S", f"{EPOCHS}=200"]
        command = ["python", "-m", "tools.sweep", "train", *settings]
        process = start([*command, address], project.folder, **environment)
        checkpoints = lambda: [*sweeps.glob("*/.dvc/tmp/checkpoints/*.npz")]  # noqa: E731
        wait_for(lambda: len(checkpoints()) == 2)
        kill_worker(trains_below(sweeps)[0])
        wait_for(lambda: any("going on" in log.read_text() for log in sweeps.glob("*.log")))
        kill(second)
        output, errors = process.communicate()
    print(output)
    assert process.returncode == 1, errors
    assert re.search("^3 done, 1 failed, [2-9] lost$", output, re.M), output
    assert "Traceback" not in output + errors
    done = re.findall(rf"^\d/\d 0\.\d+ +{RATE}=(\S+) ", output, re.M)
    assert sorted(done) == ["0.05", "0.1", "0.2"]
    logs = [path.read_text() for path in sweeps.glob("*.log")]
    assert sum(log.count("going on after epoch ") for log in logs) == 2
    listed = project.dvc("exp", "list", "--name-only").split()
    assert len(listed) == 3
    # Everything of the best one is here.
    best = re.findall(r"`dvc exp apply (\S+)`", output)
    project.dvc("exp", "apply", *best)
    assert (project.folder / "models/model.keras").exists()


def test_a_search_with_pruning(project: Project) -> None:
    project.edit({"preprocess.train_size": 2000})
    project.dvc("repro", "preprocess")
    project.commit("More images")
    interval = f"{RATE}=tag(log,interval(0.001,1))"
    settings = ["-S", interval, "-S", f"{EPOCHS}=6", "--trials", "12", "--prune"]
    output = project.call("python", "-m", "tools.sweep", "train", *settings)
    print(output)
    (counted,) = re.findall(r"^(\d+) done, (\d+) pruned$", output, re.M)
    assert sum(map(int, counted)) == 12
    assert len(re.findall("^[0-9]+/12 pruned ", output, re.M)) == int(counted[1]) > 0
    rows = output.partition(" experiment ")[2].splitlines()[1:6]
    table = [row.split() for row in rows]
    assert float(table[0][0]) == max(float(row[0]) for row in table)
    # A rate of 0.001 learns next to nothing in so few steps.
    assert float(table[0][2]) > 0.01
