"""What a trial needs of the machine that it runs on."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import ray

from tools.sweep import trial
from tools.sweep.trial import (
    Source,
    TrialError,
    call,
    end_processes,
    environment,
    home,
    own_processors,
    reason,
    watch,
)

HISTORY = "epoch,loss,val_accuracy\n1,0.5,0.25\n"

HAS_AFFINITY = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity"), reason="this system ties no process to processors"
)


class Told(list[tuple[str, int, dict[str, float]]]):
    """Keeps what it is told; false while it is empty, as a queue of Ray."""

    put = list.append


def source(folder: str | None) -> Source:
    return Source("repository", "refs/sweeps/a", folder, None, ())


def test_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert home(source(str(tmp_path / "a/b"))) == tmp_path / "a/b"
    assert (tmp_path / "a/b").is_dir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert home(source(None)) == tmp_path / "cache/cifar10-pipeline/sweeps"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert home(source(None)) == tmp_path / ".cache/cifar10-pipeline/sweeps"
    assert home(source(None)).is_dir()


def test_programs_are_this_interpreters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PATH", "/usr/bin")
    monkeypatch.setenv("OTHER", "kept")
    found = environment()
    assert found["PATH"] == f"{Path(sys.executable).parent}:/usr/bin"
    assert "OMP_NUM_THREADS" not in found
    assert found["OTHER"] == "kept"


@HAS_AFFINITY
def test_trials_share_no_processor(tmp_path: Path) -> None:
    usable = os.sched_getaffinity(0)
    with own_processors(1, tmp_path) as first, own_processors(len(usable) - 1, tmp_path) as others:
        assert len(first) == 1
        assert first | others == usable
        assert not first & others
        with own_processors(1, tmp_path) as none:
            assert none == set()
    with own_processors(len(usable), tmp_path) as again:
        assert again == usable
    with own_processors(0, tmp_path) as none:
        assert none == set()


def test_processes_of_a_clone_end(tmp_path: Path) -> None:
    clone, other = tmp_path / "clone", tmp_path / "clone-2"
    clone.mkdir()
    other.mkdir()
    wait = [sys.executable, "-c", "import time; time.sleep(60)"]
    inside, outside = (subprocess.Popen(wait, cwd=folder) for folder in (clone, other))
    try:
        end_processes(clone)
        assert not psutil.pid_exists(inside.pid)
        assert outside.poll() is None
    finally:
        outside.kill()
        outside.wait()


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("started\nerror: params.yaml: seed\nERROR: failed\n", "params.yaml: seed"),
        ("ERROR: failed to pull\nmore\n", "failed to pull"),
        ("fatal: no such repository\n", "no such repository"),
        ("Traceback:\n  line\nValueError: wrong\n\n", "ValueError: wrong"),
        ("", "it failed without a word"),
    ],
)
def test_reason(output: str, expected: str) -> None:
    assert reason(output) == expected


def test_a_failed_command(tmp_path: Path) -> None:
    assert call([sys.executable, "-c", "print('a')"], tmp_path) == "a\n"
    script = "import sys; print('b'); print('error: c', file=sys.stderr); sys.exit(1)"
    with pytest.raises(TrialError) as failed:
        call([sys.executable, "-c", script], tmp_path)
    assert str(failed.value) == f"{sys.executable} -c {script}: c"
    with pytest.raises(TrialError, match=r": d$"):
        call([sys.executable, "-c", "import sys; print('d'); sys.exit(1)"], tmp_path)


@HAS_AFFINITY
def test_epochs_are_told_as_they_come(tmp_path: Path) -> None:
    history = tmp_path / "plots/history.csv"
    history.parent.mkdir()
    # Of the commit, not of the trial.
    history.write_text(HISTORY)
    os.utime(history, (1, 1))
    script = f"""
import os, pathlib, time
history = pathlib.Path("plots/history.csv")
print(sorted(os.sched_getaffinity(0)))
time.sleep(0.5)
history.write_text({HISTORY!r})
time.sleep(0.5)
history.write_text({HISTORY!r} + "2,0.25,0.5\\n")
time.sleep(0.5)
"""
    told = Told()
    processor = min(os.sched_getaffinity(0))
    log = tmp_path / "a.log"
    log.write_text("before\n")
    command = [sys.executable, "-c", script]
    watch(command, tmp_path, log, {processor}, told)
    name = tmp_path.name
    assert told == [
        (name, 1, {"epoch": 1, "loss": 0.5, "val_accuracy": 0.25}),
        (name, 2, {"epoch": 2, "loss": 0.25, "val_accuracy": 0.5}),
    ]
    assert log.read_text() == f"before\n[{processor}]\n"


def test_a_failed_trial_says_where_its_output_is(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    script = "import sys; print('error: seed = -1'); sys.exit(2)"
    with pytest.raises(TrialError) as failed:
        watch([sys.executable, "-c", script], tmp_path, log, set(), None)
    assert str(failed.value) == f"seed = -1 (all of it: {log})"


def test_what_interrupts_a_trial_ends_its_command(tmp_path: Path) -> None:
    history = tmp_path / "plots/history.csv"
    history.parent.mkdir()
    script = f"""
import pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
pathlib.Path("plots/history.csv").write_text({HISTORY!r})
child.wait()
"""

    class GiveUp:
        def put(self, item: tuple[str, int, dict[str, float]]) -> None:
            raise KeyboardInterrupt

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        watch([sys.executable, "-c", script], tmp_path, tmp_path / "a.log", set(), GiveUp())
    assert time.monotonic() - start < 20
    assert not [p for p in psutil.process_iter(["cwd"]) if p.info["cwd"] == str(tmp_path)]


@pytest.mark.slow
def test_a_machine_without_the_project_can_run_a_trial(tmp_path: Path) -> None:
    ray.cloudpickle.register_pickle_by_value(trial)
    try:
        sent = ray.cloudpickle.dumps((trial.attempt, source(str(tmp_path / "a"))))
    finally:
        ray.cloudpickle.unregister_pickle_by_value(trial)
    (tmp_path / "sent").write_bytes(sent)
    script = (
        "import pickle; f, s = pickle.load(open('sent', 'rb')); print(f(s, 'b', [], 'c', 0, None))"
    )
    command = [sys.executable, "-P", "-c", script]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        "git fetch --quiet: 'repository' does not appear to be a git repository\n"
    )
