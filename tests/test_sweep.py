"""A sweep on this machine: stopped, its worker killed, one value wrong, started again."""

import os
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import dvc.api
import psutil
import pytest

from pipeline.common.shell import UserError
from tests.project import MakeProject, Process, Project, Run, assert_refused, run, start, wait_for
from tools.sweep.__main__ import parse, source_of
from tools.sweep.trial import Source, TrialError

RATE = "recipes.airbench_small.optimizer.kernel_learning_rate"
EPOCHS = "recipes.airbench_small.epochs"
# The best one, of the lowest loss, is neither the first nor the last.
SETTINGS = ["-S", f"{RATE}=choice(-1,0.1,0.0001)", "-S", f"{EPOCHS}=60", "--metric", "val_loss"]
COMMAND = ["python", "-m", "tools.sweep", "train", *SETTINGS]

# Of DVC's own calls.
pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")


def sweeps(project: Project) -> Path:
    return project.folder / ".dvc/tmp/sweeps"


def working(folder: Path) -> list[psutil.Process]:
    """Return the processes that work below a folder."""
    found = psutil.process_iter(["cwd", "cmdline"])
    return [process for process in found if (process.info["cwd"] or "").startswith(f"{folder}/")]


def trains_below(folder: Path) -> list[psutil.Process]:
    """Return the trainings below a folder, after a moment, that have a rate to go on with."""
    time.sleep(0.2)
    wrong = f"{RATE.rpartition('.')[2]}: -1"
    return [
        process
        for process in working(folder)
        if "stages.train" in (process.info["cmdline"] or ())
        and wrong not in Path(process.info["cwd"], "params.yaml").read_text()
    ]


def kill_worker(training: psutil.Process) -> None:
    # It gives dvc a session of its own; a shell may stand between dvc and the training.
    worker = psutil.Process(os.getsid(training.pid)).parent()
    assert worker is not None
    worker.kill()


def start_sweep(project: Project) -> Process:
    # Too long for the path of a socket below it.
    temporary = project.folder / ".dvc/tmp" / ("x" * 60)
    temporary.mkdir(exist_ok=True)
    return start(COMMAND, project.folder, PYTHONPATH="", TMPDIR=str(temporary))


@pytest.fixture(scope="module")
def project(reproduced: MakeProject, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a folder of a shallow clone, with hooks, whose name would mean more to DVC."""
    repository = tmp_path_factory.mktemp("a #1, b") / ".git"
    project = reproduced(repository.parent / "pictures")
    (project.folder / ".git").rename(repository)
    Project(repository.parent).commit("As a part of a larger project")
    (repository / "shallow").write_text(project.git("rev-parse", "HEAD"))
    refuse_by_hook(repository, "pre-push")
    refuse_by_hook(repository, "reference-transaction")
    return project


def refuse_by_hook(repository: Path, name: str) -> None:
    hook = repository / "hooks" / name
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)


@pytest.fixture(scope="module")
def stopped(project: Project) -> Run:
    """Return how a sweep ended that Ctrl-C stopped while it trained."""
    process = start_sweep(project)
    checkpoints = "*/*/pictures/.dvc/tmp/checkpoints/*.npz"
    wait_for(lambda: any(sweeps(project).glob(checkpoints)), process)
    assert_refused(run(COMMAND, project.folder, PYTHONPATH=""), "the same sweep is running")
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate()
    return Run(COMMAND, process.returncode, output, errors)


@pytest.fixture(scope="module")
def finished(project: Project, stopped: Run) -> Run:
    """Return how the same sweep ended, started again, when a worker of it was killed."""
    process = start_sweep(project)
    training, *_ = wait_for(lambda: trains_below(sweeps(project)), process)
    # Its processor is its own: joblib, by which it counts them, heeds this.
    assert training.environ()["LOKY_MAX_CPU_COUNT"] == "1"
    kill_worker(training)
    output, errors = process.communicate()
    return Run(COMMAND, process.returncode, output, errors)


def test_interrupted(project: Project, stopped: Run) -> None:
    assert stopped.returncode == 130, stopped.stderr
    assert stopped.stderr == "error: interrupted by SIGINT\n"
    assert "3 trials of train, the lowest val_loss wins" in stopped.stdout
    each = "^3 to run, [12] at once, each with --cpus 1 --gpus 0$"
    assert re.search(each, stopped.stdout, re.MULTILINE)
    assert not working(sweeps(project))


def test_finished(project: Project, finished: Run) -> None:
    assert finished.returncode == 1, finished.stdout + finished.stderr
    assert "Traceback" not in finished.stderr
    (failed,) = re.findall("^./. failed .*$", finished.stdout, re.M)
    assert f"{RATE}=-1 {EPOCHS}=60  (sweep-" in failed
    assert f": params.yaml: {RATE} = -1: " in failed
    counted, head, best, worse, hint = finished.stdout.splitlines()[-5:]
    assert counted == "2 done, 1 failed, 1 lost"
    # The best one first; the command that brings it.
    assert head.split() == ["val_loss", "experiment", "kernel_learning_rate"]
    assert max(map(len, (head, best, worse))) <= 80
    assert float(best.split()[0]) < float(worse.split()[0])
    assert best.split()[2] == "0.1"
    assert hint.startswith(f"`dvc exp apply {best.split()[1]}` brings the best one ")
    assert not working(sweeps(project))
    # The others went on where they were.
    logs = [path.read_text() for path in sweeps(project).glob("*/*.log")]
    assert any("going on after epoch " in log for log in logs)
    # What they left behind is one folder: that of the trial that failed.
    (left,) = [folder for folder in sweeps(project).glob("*/*") if folder.is_dir()]
    assert "-1" in Path(f"{left}.log").read_text()


def test_each_is_an_experiment(project: Project, finished: Run) -> None:
    """As DVC's own; the workspace is as it was."""
    assert project.git("status", "--porcelain") == ""
    shown = [row for row in dvc.api.exp_show(str(project.folder)) if row["Experiment"]]
    assert {row[EPOCHS] for row in shown} == {60}
    # Of the test, it has no results (!), where the commit's would look like its own.
    assert {row["accuracy"] for row in shown} == {"!"}
    found = {f"{row[RATE]}": row["val_loss"] for row in shown}
    printed = re.findall(rf"^\d/\d ([\d.]+) +{RATE}=(\S+) ", finished.stdout, re.M)
    assert found == {rate: float(value) for value, rate in printed}


def test_what_has_run_is_not_run_again(
    project: Project, finished: Run, call_stage: Callable[..., Run]
) -> None:
    for number, (rate, code) in enumerate([("-1", 1), ("0.1", 0)]):
        alone = call_stage("sweep", project.folder, *COMMAND[3:], f"--only={number}")
        assert alone.returncode == code, alone.stderr
        assert alone.stdout.strip() in finished.stdout
        assert f"{RATE}={rate} " in alone.stdout


def test_the_best_one_is_brought(project: Project, finished: Run) -> None:
    (best,) = re.findall(r"`dvc exp apply (\S+)`", finished.stdout)
    project.dvc("exp", "apply", best)
    assert project.params()["recipes"]["airbench_small"]["optimizer"]["kernel_learning_rate"] == 0.1
    assert project.changed() == {"evaluate", "plots"}


@pytest.fixture
def source(
    reproduced: MakeProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Source]:
    """Return a function that tells where the trials of a sweep come from, by its arguments."""
    monkeypatch.chdir(reproduced(tmp_path / "project").folder)

    def source(*arguments: str) -> Source:
        monkeypatch.setattr(sys, "argv", ["sweep", *arguments])
        return source_of(parse())

    return source


SEEDS = ["train", "-S", "seed=1,2"]


def test_a_name_stands_for_the_commit_and_for_what_is_asked(source: Callable[..., Source]) -> None:
    project = Project(Path())
    first = source(*SEEDS)
    assert first.cache == project.dvc("cache", "dir").strip()
    assert (first.metric, first.metrics) == ("val_accuracy", ["metrics/train.json"])
    # What a trial does not write is not its result.
    assert {"metrics/evaluate.json", "plots/predictions.csv"} < {*first.stale}
    assert {"plots/history.csv", "metrics/train.json"}.isdisjoint(first.stale)
    assert source("-S", "seed=1,2").stale == []
    others = [["-S", "seed=1,2"], ["train", "-S", "seed=1,3"]]
    others += [[*SEEDS, "--metric", "val_loss"], [*SEEDS, "--seed", "1"]]
    names = {first.sweep, *(source(*other).sweep for other in others)}
    assert source(*SEEDS, "--jobs", "1").sweep == first.sweep
    with pytest.raises(UserError, match=r"^--metric accuracy: not in .*metrics/train.json"):
        source(*SEEDS, "--metric", "accuracy")
    project.git("update-index", "--split-index")
    with pytest.raises(UserError, match="^core.splitIndex: "):
        source(*SEEDS)
    project.git("update-index", "--no-split-index")
    Path("stages/train.py").write_text("pass\n")
    with pytest.raises(UserError, match="^stages/train.py: changed since the last commit"):
        source(*SEEDS)
    project.commit("Change")
    assert len({*names, source(*SEEDS).sweep}) == 6


def test_a_clusters_machines_fetch_the_commit(
    source: Callable[..., Source], tmp_path: Path
) -> None:
    """Whatever hooks the user's clone has."""
    project = Project(Path())
    on_cluster = [*SEEDS, "--address", "auto"]
    with pytest.raises(UserError, match="^no DVC remote, "):
        source(*on_cluster)
    project.dvc("remote", "add", "--default", "storage", str(tmp_path / "storage"))
    project.commit("Name a storage")
    with pytest.raises(TrialError, match="^git remote get-url: "):
        source(*on_cluster)
    remote = tmp_path / "remote.git"
    project.git("init", "--quiet", "--bare", str(remote))
    project.git("remote", "add", "origin", str(remote))
    refuse_by_hook(Path(".git"), "pre-push")
    pushed = source(*on_cluster)
    commit, reference = project.git("ls-remote", "origin").split()
    assert (commit, reference) == (project.git("rev-parse", "HEAD").strip(), pushed.revision)
    refuse_by_hook(remote, "pre-receive")
    with pytest.raises(TrialError, match="pre-receive hook declined"):
        source(*on_cluster, "--seed", "1")
