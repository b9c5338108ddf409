"""What a trial needs of the machine that it runs on."""

import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from dvc.config import Config

from tools.sweep import trial
from tools.sweep.trial import (
    Source,
    TrialError,
    attempt,
    call,
    end_processes,
    environment,
    home,
    make_clone,
    own_processors,
    read_metric,
    reason,
    run,
    watch,
)

METRICS = ("metrics/evaluate.json", "metrics/train.json")
HISTORY = "epoch,loss,val_accuracy,recipe\n1,0.5,0.25,mine\n"

HAS_AFFINITY = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity"), reason="this system ties no process to processors"
)


class Told(list[tuple[str, int, dict[str, float]]]):
    """Keeps what it is told; false while it is empty, as a queue of Ray."""

    put = list.append


def source(folder: str | None) -> Source:
    return Source("repository", "refs/sweeps/a", folder, None, (), METRICS)


def test_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert home(source(str(tmp_path / "a/b"))) == tmp_path / "a/b"
    assert (tmp_path / "a/b").is_dir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert home(source(None)) == tmp_path / "cache/cifar10-pipeline/sweeps"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert home(source(None)) == tmp_path / ".cache/cifar10-pipeline/sweeps"
    assert home(source(None)).is_dir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to("elsewhere")
    assert home(source(str(tmp_path / "link"))) == tmp_path / "elsewhere"


def test_programs_are_this_interpreters(monkeypatch: pytest.MonkeyPatch) -> None:
    """And no trial is taken for one of several machines that train together."""
    left_out = ("OMP_NUM_THREADS", "TF_CONFIG", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_NODELIST")
    kept = ("OTHER", "SLURM_JOB_ID", "TF_CONFIG_OF_ANOTHER")
    monkeypatch.setenv("PATH", "/usr/bin")
    for name in left_out + kept:
        monkeypatch.setenv(name, "1")
    found = environment()
    assert found["PATH"] == f"{Path(sys.executable).parent}:/usr/bin"
    assert found.keys().isdisjoint(left_out)
    assert [found[name] for name in kept] == ["1", "1", "1"]


@HAS_AFFINITY
def test_trials_share_no_processor(tmp_path: Path) -> None:
    usable = os.sched_getaffinity(0)
    with own_processors(1, tmp_path) as first, own_processors(len(usable) - 1, tmp_path) as others:
        assert len(first) == 1
        assert first | others == usable
        assert not first & others
        with own_processors(1, tmp_path) as none:
            assert none == set()
    # Too many are none at all, and others may have them.
    with own_processors(len(usable) + 1, tmp_path) as none, own_processors(1, tmp_path) as one:
        assert (len(none), len(one)) == (0, 1)
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


def test_a_failed_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    where = "import os; print(os.getcwd(), os.environ.get('OMP_NUM_THREADS'))"
    assert call([sys.executable, "-c", where], tmp_path) == f"{tmp_path} None\n"
    script = "import sys; print('b'); print('error: c', file=sys.stderr); sys.exit(1)"
    with pytest.raises(TrialError) as failed:
        call([sys.executable, "-c", script, "more"], tmp_path)
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
history.write_text({HISTORY!r} + "2,0.25,0.5,mine\\n")
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
    log.write_bytes(b"\xff\n")
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


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.com")
    return call(["git", *identity, *arguments], folder)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return a repository with a commit that only the sweep's reference leads to."""
    folder = tmp_path / "repository"
    (folder / ".dvc").mkdir(parents=True)
    git(folder, "init", "--quiet")
    for content in ("of the sweep", "newer"):
        (folder / ".dvc/config").write_text(content)
        git(folder, "add", "--all")
        git(folder, "commit", "--quiet", "--message", content)
        if content == "of the sweep":
            git(folder, "update-ref", "refs/sweeps/a", "HEAD")
    return folder


def local_config(clone: Path) -> dict[str, Any]:
    """Return what DVC reads in a clone's own configuration."""
    return Config.load_file(str(clone / ".dvc/config.local"))


def test_a_clone_is_of_the_commit(tmp_path: Path, repository: Path) -> None:
    """What an earlier try has not finished is made anew; what it has is left as it is."""
    clone = tmp_path / "clones/a"
    (clone / "left").mkdir(parents=True)
    given = Source(str(repository), "refs/sweeps/a", None, None, (), METRICS)
    assert make_clone(given, clone)
    assert not (clone / "left").exists()
    assert (clone / ".dvc/config").read_text() == "of the sweep"
    assert git(clone, "rev-parse", "HEAD") == git(repository, "rev-parse", "refs/sweeps/a")
    assert git(clone, "remote", "get-url", "origin").strip() == str(repository)
    assert git(clone, "branch", "--show-current") == ""
    cache = {"dir": f"{tmp_path}/clones/cache", "type": "reflink,hardlink,symlink"}
    assert local_config(clone)["cache"] == cache
    (clone / "kept").touch()
    assert not make_clone(given, clone)
    assert (clone / "kept").exists()


@pytest.mark.parametrize("cache", ["/cache", "/c#, d/\N{LATIN SMALL LETTER E WITH ACUTE}"])
def test_a_clone_beside_a_cache_has_what_is_in_it(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch, cache: str
) -> None:
    commands: list[tuple[list[str], Path]] = []

    def noted(command: list[str], clone: Path) -> str:
        commands.append((command, clone))
        return call(command, clone) if command[0] == "git" else ""

    monkeypatch.setattr(trial, "call", noted)
    clone = tmp_path / "a"
    assert make_clone(Source(str(repository), "refs/sweeps/a", None, cache, (), METRICS), clone)
    assert local_config(clone)["cache"]["dir"] == cache
    *_, last = commands
    assert last == (["dvc", "checkout", "--quiet", "--allow-missing"], clone)


def test_the_metric_is_read(tmp_path: Path) -> None:
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics/train.json").write_text('{"val_accuracy": 0.5, "epochs": 3}')
    (tmp_path / "metrics/evaluate.json").write_text('{"accuracy": 0.25, "tta": "none"}')
    assert read_metric(tmp_path, METRICS, "val_accuracy") == 0.5
    found = read_metric(tmp_path, METRICS, "epochs")
    assert (found, type(found)) == (3, float)
    # What the commit has of a stage that did not run is no result.
    with pytest.raises(TrialError, match=r"--metric accuracy: no metric"):
        read_metric(tmp_path, METRICS[1:], "accuracy")
    with pytest.raises(TrialError) as failed:
        read_metric(tmp_path, METRICS, "tta")
    assert str(failed.value) == (
        "--metric tta: no metric; allowed are accuracy, val_accuracy, epochs"
    )


class Steps:
    """Takes the place of what a trial calls, and notes it."""

    def __init__(self, patch: pytest.MonkeyPatch):
        """Take the places; no clone was made before."""
        self.is_new, self.listed = True, ""
        self.noted: list[tuple[object, ...]] = []
        for name in ("end_processes", "make_clone", "watch", "read_metric", "call"):
            patch.setattr(trial, name, partial(self.note, name))

    def note(self, name: str, *arguments: Any) -> Any:
        """Note a call and answer it."""
        self.noted.append((name, *arguments))
        if name == "make_clone":
            arguments[1].mkdir()
            return self.is_new
        return {"read_metric": 0.5, "call": self.listed}.get(name)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    return Steps(monkeypatch)


@pytest.mark.parametrize(
    ("cache", "pull", "keep"), [("/cache", [], ["--no-cache"]), (None, ["--pull"], [])]
)
def test_a_trial(
    tmp_path: Path, steps: Steps, cache: str | None, pull: list[str], keep: list[str]
) -> None:
    """By the cache of this machine, or by the remote of all."""
    given = Source(
        "repository", "refs/sweeps/a", str(tmp_path), cache, ("train", "evaluate"), METRICS
    )
    told = Told()
    assert run(given, "b", ["seed=1", "epochs=2"], "accuracy", 0, told) == 0.5
    clone = tmp_path / "b"
    sets = ["-S", "seed=1", "-S", "epochs=2"]
    command = ["dvc", "exp", "run", *pull, "--name", "b", *sets, "train", "evaluate"]
    push = ["dvc", "exp", "push", "--force", *keep, "origin", "b"]
    assert steps.noted == [
        ("end_processes", clone),
        ("make_clone", given, clone),
        ("watch", command, clone, tmp_path / "b.log", set(), told),
        ("read_metric", clone, METRICS, "accuracy"),
        ("call", push, clone),
    ]
    assert not clone.exists()


@pytest.mark.parametrize(("listed", "is_run"), [("b\nother\n", False), ("bb\nother\n", True)])
def test_a_finished_trial_is_brought_back(
    tmp_path: Path, steps: Steps, listed: str, is_run: bool
) -> None:
    """An earlier try came to its end, but not to the repository."""
    steps.is_new, steps.listed = False, listed
    run(source(str(tmp_path)), "b", [], "accuracy", 0, None)
    listing = ["dvc", "exp", "list", "--name-only"]
    assert steps.noted[2] == ("call", listing, tmp_path / "b")
    assert ("watch" in [name for name, *_ in steps.noted]) == is_run


@HAS_AFFINITY
def test_a_trial_has_its_own_processors(tmp_path: Path, steps: Steps) -> None:
    run(source(str(tmp_path)), "b", [], "accuracy", 1, None)
    ((*_, own, _),) = [noted for noted in steps.noted if noted[0] == "watch"]
    assert own == {min(os.sched_getaffinity(0))}
    assert [path.name for path in tmp_path.iterdir()] in ([], ["processor-0.lock"])


def test_an_attempt_says_why_it_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    given = (source(None), "b", ["seed=1"], "accuracy", 2, None)
    monkeypatch.setattr(trial, "run", lambda *arguments: arguments)
    assert attempt(*given) == given

    def fail(*arguments: object) -> float:
        raise TrialError("too low")

    monkeypatch.setattr(trial, "run", fail)
    assert attempt(*given) == "too low"


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
