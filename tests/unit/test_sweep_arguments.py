"""Arguments of a sweep, what is said of wrong ones, and what is printed of a trial."""

import importlib.util
import subprocess
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.errors import InputError
from tools.sweep import repository
from tools.sweep.__main__ import main, parse
from tools.sweep.driver import alone, line, metric_of, this_one_alone
from tools.sweep.trial import Source

SEED = ["-S", "seed=choice(0,1)"]
NAME = "a\N{LATIN SMALL LETTER E WITH ACUTE}.py"


HELP = """\
usage: python -m tools sweep [-h] [-S KEY=VALUES] [--search {grid,random,tpe}] [--trials N]
[--metric METRIC] [--minimize] [--prune] [--seed SEED] [--cpus N] [--gpus N] [--address ADDRESS]
[--remote REMOTE] [--only K] [STAGE ...]

Try many values of parameters at once and list the best.

Each trial is an experiment of DVC, on a processor or GPU of its own. Values are named as for
`dvc exp run`; an interval is searched:

  -S 'seed=choice(0,1,2)' -S 'recipes.airbench_small.epochs=range(5,9)'
  -S 'recipes.airbench_small.optimizer.kernel_learning_rate=tag(log,interval(0.05,0.5))'

The same command goes on where it was stopped.

positional arguments:
  STAGE                 stages to run; all

options:
  -h, --help            show this help message and exit
  -S KEY=VALUES         a parameter and its values; may be given several times
  --search {grid,random,tpe}
                        grid: all combinations; random: some; tpe: promising ones, by the results so
                        far; by default grid, and tpe where a parameter has an interval
  --trials N            how many; the whole grid, else 20
  --metric METRIC       the metric to maximize; val_accuracy
  --minimize            minimize the metric instead
  --prune               stop a trial whose best value is worse than the median of the others at
                        that epoch
  --seed SEED           of the search; 0
  --cpus N              processors of each trial; 1, or an equal share for each GPU
  --gpus N              GPUs of each trial; 1 where there are any
  --address ADDRESS     of a Ray cluster, HOST:PORT or auto; by default, this machine alone
  --remote REMOTE       the Git remote that the cluster's machines reach; origin
  --only K              run trial K alone, from 0, without Ray, as one of a job array does
"""


def test_the_help(help_of: Callable[[Callable[[], None]], str]) -> None:
    assert help_of(main) == " ".join(HELP.split())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([*SEED, "--prune", "--metric", "accuracy"], "--prune --metric accuracy: allowed are val_"),
        ([*SEED, "--trials", "0"], "--trials 0: allowed is 1 or more"),
        ([*SEED, "--cpus", "-1"], "--cpus -1: allowed is 1 or more"),
        ([*SEED, "--gpus", "-1"], "--gpus -1.0: allowed is 0 or more"),
        ([*SEED, "--gpus", "nan"], "--gpus nan: allowed is 0 or more"),
        ([*SEED, "--seed", "-1"], "--seed -1: allowed is 0 to 4294967295"),
        ([*SEED, "--seed", "4294967296"], "--seed 4294967296: allowed is 0 to 4294967295"),
        (["-S", "seed"], "-S seed: missing EQUAL"),
        (["-S", "a=interval(0,1)", "--search", "grid"], "-S a: an interval has no grid"),
        (SEED, "dvc.yaml: missing; run in the folder that holds it"),
    ],
)
def test_refused(call: Callable[..., None], folder: Path, arguments: list[str], says: str) -> None:
    with pytest.raises(InputError) as refused:
        call(main, *arguments)
    assert str(refused.value).startswith(says)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "-S is missing: nothing to try"),
        ([*SEED, "--trials", "x"], "argument --trials: invalid int value: 'x'"),
    ],
)
def test_arguments_of_another_form(
    call: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    says: str,
) -> None:
    with pytest.raises(SystemExit) as ended:
        call(main, *arguments)
    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith(f"python -m tools sweep: error: {says}\n")


def test_defaults(call: Callable[..., None]) -> None:
    found: list[Namespace] = []
    call(lambda: found.append(parse()), "train", *SEED, "-S", "recipe=tutorial")
    assert vars(found[0]) == {
        "targets": ["train"],
        "overrides": ["seed=choice(0,1)", "recipe=tutorial"],
        "search": None,
        "trials": None,
        # Of the validation images: chosen by the test images, accuracy on them means less.
        "metric": "val_accuracy",
        "minimize": False,
        "prune": False,
        "seed": 0,
        "cpus": None,
        "gpus": None,
        "address": None,
        "remote": "origin",
        "only": None,
    }


def test_all_options(call: Callable[..., None]) -> None:
    found: list[Namespace] = []
    call(
        lambda: found.append(parse()),
        *(*SEED, "train", "plots", "--search", "tpe", "--trials", "1", "--metric", "val_loss"),
        *("--minimize", "--prune", "--seed", "4", "--cpus", "1", "--gpus", "0.5"),
        *("--address", "auto", "--remote", "other", "--only", "0"),
    )
    assert vars(found[0]) == {
        "targets": ["train", "plots"],
        "overrides": ["seed=choice(0,1)"],
        "search": "tpe",
        "trials": 1,
        "metric": "val_loss",
        "minimize": True,
        "prune": True,
        "seed": 4,
        "cpus": 1,
        "gpus": 0.5,
        "address": "auto",
        "remote": "other",
        "only": 0,
    }


def test_packages_that_are_not_installed(
    call: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError) as refused:
        call(main, *SEED)
    assert str(refused.value) == (
        "configobj, filelock, optuna, psutil, ray: not installed; pip install -e '.[sweep]' does it"
    )


def test_what_a_line_says() -> None:
    assert line("sweep-1-2", ["seed=1", "a=b"], 0.5) == "0.5       seed=1 a=b  (sweep-1-2)"
    assert line("sweep-1-2", ["seed=1"], None) == "pruned    seed=1  (sweep-1-2)"
    assert line("sweep-1-2", ["a=-1"], "too low") == "failed    a=-1  (sweep-1-2): too low"


def test_the_same_sweep_runs_once_at_a_time(folder: Path) -> None:
    with this_one_alone("sweep-1"), this_one_alone("sweep-2"):
        with pytest.raises(InputError) as refused, this_one_alone("sweep-1"):
            pass
        assert str(refused.value) == (
            ".dvc/tmp/sweeps/sweep-1: the same sweep is running; wait for its end"
        )
    with this_one_alone("sweep-1"):
        pass


def test_without_validation_images_nothing_is_pruned() -> None:
    assert metric_of({"epoch": 1.0, "val_loss": 0.5}, "val_loss") == 0.5
    with pytest.raises(InputError) as refused:
        metric_of({"epoch": 1.0, "loss": 0.5}, "val_loss")
    assert str(refused.value) == (
        "--prune: no val_loss without validation images, "
        "params.yaml: preprocess.validation_split = 0; allowed is more than 0"
    )


@pytest.mark.parametrize(
    ("planned", "only", "says"),
    [
        ([], 0, "--only: tpe chooses by earlier trials; allowed are --search grid, random"),
        ([{"seed": "0"}, {"seed": "1"}], 2, "--only 2: allowed is 0 to 1"),
        ([{"seed": "0"}], -1, "--only -1: allowed is 0 to 0"),
    ],
)
def test_a_trial_that_is_none_of_the_sweep(
    planned: list[dict[str, object]], only: int, says: str
) -> None:
    source = Source("repository", "refs/sweeps/a", None, None, (), ())
    with pytest.raises(InputError) as refused:
        alone(source, "sweep-1", planned, {}, Namespace(only=only))
    assert str(refused.value) == says


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], check=True, text=True, capture_output=True).stdout


def test_trials_start_from_what_is_committed(folder: Path) -> None:
    for name in ("dvc.yaml", "params.yaml", NAME):
        Path(name).write_text("a: 1\n")
    Path(".dvc").mkdir()
    with pytest.raises(InputError, match=r"^git rev-parse HEAD: not a git repository"):
        repository.revision()
    git("init", "--quiet")
    git("add", "--all")
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.com")
    git(*identity, "commit", "--quiet", "--message", "Start")
    Path("untracked").touch()
    assert repository.revision() == git("rev-parse", "HEAD").strip()
    Path("params.yaml").write_text("a: 2\n")
    Path(NAME).write_text("a: 2\n")
    with pytest.raises(InputError) as refused:
        repository.revision()
    assert str(refused.value) == (
        f"{NAME}, params.yaml: changed since the last commit, which the trials start from; "
        "commit it or put it back"
    )
