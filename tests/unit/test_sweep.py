"""What a sweep tries, in which order, under which name, and what it makes of the results."""

import re
import sys
from argparse import Namespace
from collections import namedtuple
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import ray
from dvc.utils.hydra import get_hydra_sweeps

from pipeline.common.shell import UserError
from tests.project import ROOT, Project, run
from tools.experiments import short_names
from tools.sweep import __main__ as sweep
from tools.sweep import space, trial, tuning
from tools.sweep.space import note, parse_space, progress
from tools.sweep.trial import Source, Values, as_overrides, environment, experiment, rows_of, watch
from tools.sweep.tuning import Trial, needs, pruner, search

RATE = ["rate=interval(0.5,2)"]


def plan(
    overrides: list[str], trials: int | None = None, seed: int = 0, search: str | None = None
) -> list[Values]:
    options = Namespace(search=search, trials=trials, seed=seed)
    return space.plan(parse_space(overrides), options)


drawn = partial(plan, search="random")


def source_of(metric: str) -> Source:
    return Source("sweep-1", metric, "", "", None, None, [], [], [])


@pytest.mark.parametrize(
    "overrides",
    [
        ["epochs=range(1,10,3)", "seed=choice(4,3)"],
        ["recipe=tutorial", "seed=range(3)"],
        ["rate=choice(1e-3,0.01)", "name='a b',null", "widths=[1,2],[3,4]"],
    ],
)
def test_the_grid_is_that_of_dvc(overrides: list[str]) -> None:
    expected = [each["params.yaml"] for each in get_hydra_sweeps({"params.yaml": overrides})]
    assert [as_overrides(values) for values in plan(overrides)] == expected
    assert [as_overrides(values) for values in plan(overrides, 1, search="grid")] == expected[:1]


def test_random_combinations() -> None:
    found = drawn([*RATE, "epochs=int(interval(2,4))", "seed=1,2"], 200, seed=3)
    assert len(found) == 200
    assert {values["epochs"] for values in found} == {2, 3, 4}
    assert {values["seed"] for values in found} == {"1", "2"}
    rates = sorted(values["rate"] for values in found)
    assert 0.5 <= rates[0] < 0.55 < 1.95 < rates[-1] <= 2
    # Uniform: as many below the middle as above it, give or take four standard deviations.
    assert 72 <= sum(rate < 1.25 for rate in rates) <= 128
    assert drawn(RATE, 9, seed=1)[:5] == drawn(RATE, 5, seed=1)
    assert len({str(drawn(RATE, 5, seed)) for seed in range(5)}) == 5
    # By default an interval is left to the estimator, which chooses by earlier trials.
    assert plan(RATE) == []
    # Each of them once, so that a small space is drawn whole.
    assert plan(["seed=1,2,1"]) == [{"seed": "1"}, {"seed": "2"}]
    assert sorted(v["seed"] for v in drawn(["seed=choice(0,1,2)"], 20)) == ["0", "1", "2"]


def test_logarithmic_interval() -> None:
    rates = [values["rate"] for values in drawn(["rate=tag(log,interval(0.001,10))"], 400)]
    for low, high in pairwise((0.001, 0.01, 0.1, 1, 10)):
        assert 60 <= sum(low <= rate < high for rate in rates) <= 140
    assert max(values["x"] for values in drawn(["x=interval(0,1.0)"], 400)) % 1 > 0.99
    whole = drawn(["epochs=int(tag(log,interval(1000,64000)))"], 300)
    assert 100 <= sum(values["epochs"] <= 8000 for values in whole) <= 200


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-S", "seed"], "-S seed: missing EQUAL at '<EOF>'"),
        (["-S", "+seed=1"], "-S +seed=1: adds or deletes a key"),
        (["-S", "a=glob(*)"], "-S a=glob(*): "),
        (["-S", "a=interval(2,1)"], "-S a=interval(2,1): "),
        (["-S", "seed=2"], "-S seed=2: the key was named before"),
        (["--prune", "--metric", "accuracy"], "--prune --metric accuracy: allowed are val_"),
        (["--gpus", "nan"], "--gpus nan: "),
        (["--seed", "-1"], "--seed -1: allowed is 0 or more"),
        (["-S", "a=interval(0,1)", "--search", "grid"], "--search grid: an interval has no grid"),
        ([], "dvc.yaml: missing; run in the folder that holds it"),
    ],
)
def test_what_cannot_be_swept_is_refused_in_one_line(
    call: Callable[..., None], folder: Path, arguments: list[str], says: str
) -> None:
    with pytest.raises(UserError) as refused:
        call(sweep.main, "-S", "seed=choice(0,1)", *arguments)
    assert str(refused.value).startswith(says)
    assert "\n" not in str(refused.value)


def test_an_experiment_is_named_by_its_values() -> None:
    values = {"b": 0.17117789, "c": 1e-5 / 3, "d": 12, "e": "1.23456"}
    assert as_overrides(values) == ["b=0.1712", "c=3.333e-06", "d=12", "e=1.23456"]
    assert experiment("a", {"b": 1.00001, "c": 2}) == experiment("a", {"c": 2, "b": 1.0})
    assert experiment("a", {"b": 1}) != experiment("a", {"b": 2})
    assert experiment("a", {"b": 1}) != experiment("b", {"b": 1})


def test_a_sweep_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    """What has ended is not run again, and half a line, of a full disk, is no line."""
    journal = tmp_path / "tried"
    planned = plan(["seed=choice(0,1,2,3)"])
    names = [experiment("a", values) for values in planned]
    # One was run alone, as one of a job array.
    known = {names[1]: 0.5}
    assert progress(journal, "a", planned, known, 4).left == 3
    assert progress(journal, "a", planned[1:2], known, 1).left == 0
    note(journal, planned[0])
    note(journal, planned[2])
    with journal.open("a") as file:
        file.write('\n[{"seed": "')
    note(journal, planned[0], 0.25)
    state = progress(journal, "a", planned, known, 4)
    assert (list(state.tried), state.left) == (names, 2)
    assert state.ended == known | {names[0]: 0.25}
    # An estimator has chosen two so far, of which one has ended.
    state = progress(journal, "a", [], {}, 5)
    assert (list(state.tried), state.left) == ([names[0], names[2]], 4)


@pytest.mark.parametrize(("metric", "begin", "end"), [("loss", 0.5, 1), ("accuracy", 1.5, 2)])
def test_an_estimator_goes_on(tmp_path: Path, metric: str, begin: float, end: float) -> None:
    """With what was stopped, then near the best; another seed chooses others."""
    rates = [0.5 + number / 20 for number in range(31)]
    for rate in rates:
        note(tmp_path / "tried", {"rate": rate}, rate if rate != 1 else None)
    state = progress(tmp_path / "tried", "sweep-1", [], {}, 40)
    chosen = []
    for seed in (0, 1):
        estimator: Any = search(source_of(metric), parse_space(RATE), state, Namespace(seed=seed))
        chosen.append([estimator.suggest(f"{number}")["rate"] for number in range(6)])
        assert chosen[-1][0] == 1
        assert sum(begin <= rate <= end for rate in chosen[-1][1:]) >= 4
    assert chosen[0] != chosen[1]


def test_the_best_is_the_highest_unless_it_is_a_loss(capsys: pytest.CaptureFixture[str]) -> None:
    done = [(0.1 * n, name, {"seed": f"{n}", "epochs": "5"}) for n, name in enumerate("abc")]
    for metric, best in {"val_accuracy": "c", "val_loss": "a", "calibration_error": "a"}.items():
        sweep.show(source_of(metric), done)
        head, first, *_, hint = capsys.readouterr().out.splitlines()
        assert head.split() == [metric, "experiment", "seed"]
        assert first.split()[1] == best
        assert f" apply {best}`" in hint


@pytest.mark.parametrize(
    ("keys", "short"),
    [("a.b.c d", "c d"), ("a.x.c a.y.c b.y.c", "x.c a.y.c b.y.c"), ("c a.c a.bc", "c a.c bc")],
)
def test_names_are_as_short_as_they_can_be(keys: str, short: str) -> None:
    assert [*short_names(keys.split()).values()] == short.split()


@pytest.mark.parametrize("number", [-1, 2])
def test_no_trial_alone(number: int) -> None:
    with pytest.raises(UserError, match=f"--only {number}: allowed is 0 to 1"):
        sweep.alone(source_of("m"), plan(["seed=1,2"]), number)
    with pytest.raises(UserError, match="--only: tpe chooses by earlier trials"):
        sweep.alone(source_of("m"), [], 0)


def test_rank_correlations(capsys: pytest.CaptureFixture[str]) -> None:
    """Of whatever grows with the metric, in a straight line or not, 1; without order, none."""
    metric = [0.1, 0.2, 0.4, 0.3]
    values = {"up": ["1", "10", "1e3", "1e2"], "down": [4, 3, 1, 2], "tie": [1.0, 1.0, 2.0, 2.0]}
    named = {"name": ["a", "b", "c", "d"], "same": [1, 1, 1, 1]}
    found = sweep.rank_correlations(pd.DataFrame({"m": metric, "e": list("abcd")} | values | named))
    # Ranks 1.5, 1.5, 3.5, 3.5 against 1, 2, 4, 3: Pearson's of them.
    assert found.to_dict() == pytest.approx({"up": 1, "down": -1, "tie": 4 / 20**0.5})
    # Few trials say too little.
    for count in (9, 10):
        sweep.show(source_of("m"), [(n / 10, f"{n}", {"rate": n}) for n in range(count)])
        told = re.search("^rate +1.00$", capsys.readouterr().out, re.M)
        assert bool(told) == (count == 10)


def test_epochs_are_told_as_they_come(tmp_path: Path) -> None:
    """Not those of the commit."""
    (tmp_path / "plots").mkdir()
    history = tmp_path / "plots/history.csv"
    first = "epoch,loss,val_accuracy\n1,0.5,0.25"
    history.write_text(f"{first}\n2,0.1,0.9\n")
    script = f"""
    sleep 1.2; echo '{first}' > {history}; sleep 1.2; echo 2,0.25,0.5 >> {history}; sleep 1.2
    echo $LOKY_MAX_CPU_COUNT"""
    news = watch(["sh", "-c", script], tmp_path, tmp_path / "log", "val_accuracy", 1)
    told = [each for each in news if each]
    assert told == [{"epoch": 1, "val_accuracy": 0.25}, {"epoch": 2, "val_accuracy": 0.5}]
    # The training counts its processors by joblib, which heeds this.
    assert (tmp_path / "log").read_text() == "1\n"


def test_closing_ends_all_that_was_started(tmp_path: Path) -> None:
    command = ["sh", "-c", "sleep 60; true"]
    news = watch(command, tmp_path, tmp_path / "log", "val_accuracy", 0)
    assert next(news) == {}
    news.close()
    working = [process.info["cwd"] for process in trial.psutil.process_iter(["cwd"])]
    assert str(tmp_path) not in working
    assert rows_of(tmp_path / "plots/history.csv") == []


@pytest.mark.parametrize(("own", "expected"), [("", "sweep"), ("[user]\nname = me\n", "me")])
def test_a_clone_has_a_name_to_commit_by(
    folder: Path, monkeypatch: pytest.MonkeyPatch, own: str, expected: str
) -> None:
    """Git makes up none for a user without an entry in passwd."""
    Path("gitconfig").write_text(own)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(folder / "gitconfig"))
    project, clone = Project(folder / "project"), folder / "clone"
    (project.folder / ".dvc").mkdir(parents=True)
    (project.folder / ".dvc/config").touch()
    project.init()
    project.commit("Start")
    source = Source("a", "m", str(project.folder), "HEAD", str(folder), None, [], [], [])
    trial.make_clone(source, clone)
    assert str(folder / "cache") in (clone / ".dvc/config.local").read_text()
    assert trial.call(["git", "config", "user.name"], clone) == expected


def test_a_trial_works_in_its_clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever repository a hook of Git names: Ray starts workers in any shell's environment."""
    monkeypatch.setenv("GIT_DIR", str(ROOT / ".git"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    trial.call(["git", "init", "--quiet"], tmp_path)
    assert trial.call(["git", "rev-parse", "--show-toplevel"], tmp_path) == str(tmp_path)
    assert environment()["PATH"] == f"{Path(sys.executable).parent}:/usr/bin:/bin"
    assert "OMP_NUM_THREADS" not in environment()


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("started\nerror: params.yaml: seed\nERROR: failed\n", "params.yaml: seed"),
        ("ERROR: failed to pull\nmore\n", "failed to pull"),
        ("Traceback:\n  line\nValueError: wrong\n\n", "ValueError: wrong"),
        (" ! [rejected] HEAD (stale)\nerror: failed to push\n", "rejected] HEAD (stale)"),
        ("fatal: a\nDo:\n\n\tgit config --add x\ngit config y\n", "a; `git config --add x`"),
        ("", "it failed without a word"),
    ],
)
def test_reason(output: str, expected: str) -> None:
    assert trial.reason(output) == expected


def test_a_command_that_fails_is_named_with_its_reason(tmp_path: Path) -> None:
    for stream in ("1", "2"):
        with pytest.raises(trial.TrialError, match="^sh -c .*false: why$"):
            trial.call(["sh", "-c", f"echo why >&{stream}; false", "x"], tmp_path)


@pytest.mark.parametrize(("metric", "sign"), [("accuracy", 1), ("loss", -1)])
def test_a_trial_below_the_median_is_given_up(metric: str, sign: int) -> None:
    """By its best value so far, once five others have come as far; no trial waits for others."""
    rule: Any = pruner(source_of(metric))
    *others, good, bad = map(namedtuple("Trial", "trial_id"), range(7))

    def decided(trial: Any, epoch: int, value: float) -> str:
        return rule.on_trial_result(None, trial, {"epoch": epoch, metric: sign * value})

    for number, other in enumerate(others):
        value = 0.1 * number
        assert decided(other, 1, value) == decided(other, 2, value) == "CONTINUE"
        rule.on_trial_complete(None, other, {"epoch": 2, metric: sign * value})
    assert decided(good, 1, 0.21) == "CONTINUE"
    assert decided(bad, 1, 0.19) == "STOP"
    assert decided(good, 2, 0.0) == "CONTINUE"
    assert rule.on_trial_result(None, good, {}) == "CONTINUE"


@pytest.mark.parametrize(
    ("machines", "cpus", "gpus", "expected"),
    [
        ([(2, 0, 6)], None, None, (1, 0, 1)),
        ([(2, 0, 16), (2, 0, 16)], 2, None, (2, 0, 2)),
        ([(16, 4, 64)], None, None, (4, 1, 4)),
        ([(16, 4, 64)], None, 0.5, (2, 0.5, 8)),
        ([(16, 4, 64)], 3, 2, (3, 2, 2)),
        ([(16, 4, 64)], None, 0, (1, 0, 16)),
        ([(2, 0, 16), (2, 0, 16)], None, 1, "--cpus 1 --gpus 1: no machine has these"),
        ([(2, 0, 16), (2, 0, 16)], 3, None, "together they have 4 processors, 0 GPUs and 32 GiB"),
    ],
)
def test_what_a_trial_takes(
    monkeypatch: pytest.MonkeyPatch, machines: Any, cpus: Any, gpus: Any, expected: Any
) -> None:
    """An equal share of the processors for each GPU; as many trials as each machine holds."""
    nodes = [
        {"Alive": alive, "Resources": {"CPU": c, "GPU": g, "memory": m * 1024**3}}
        for alive, (c, g, m) in [*((True, machine) for machine in machines), (False, (9, 9, 1024))]
    ]
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    if isinstance(expected, str):
        with pytest.raises(UserError, match=expected):
            needs(cpus, gpus)
    else:
        needed, fitting = needs(cpus, gpus)
        assert (needed["cpu"], needed["gpu"], fitting) == expected


def test_a_machine_without_the_project_can_run_a_trial(tmp_path: Path) -> None:
    for module in (trial, tuning):
        ray.cloudpickle.register_pickle_by_value(module)
    source = Source("a", "m", "repository", "HEAD", str(tmp_path / "a"), None, [], [], [])
    (tmp_path / "sent").write_bytes(ray.cloudpickle.dumps((Trial, source)))
    script = """
import pickle, sys
Trial, source = pickle.load(open(sys.argv[1], "rb"))
trial = Trial.__new__(Trial)
trial.setup({"seed": 1}, source=source, processors=1)
print(trial.step())
"""
    done = run([sys.executable, "-P", "-c", script, f"{tmp_path}/sent"], ROOT, PYTHONPATH="")
    assert "'repository' does not appear to be a git repository" in done.stdout, done.stderr
