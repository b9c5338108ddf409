"""Try many values of parameters at once and list the best.

Each trial is an experiment of DVC, on a processor or GPU of its own. Values are named as for
`dvc exp run`; an interval is searched:

  -S 'seed=choice(0,1,2)' -S 'recipes.airbench_small.epochs=range(5,9)'
  -S 'recipes.airbench_small.optimizer.kernel_learning_rate=tag(log,interval(0.05,0.5))'

The same command goes on where it was stopped.
"""

import argparse
import getpass
import json
import os
import sys
from collections import Counter
from pathlib import Path

import dvc.api
import pandas as pd
from dvc.exceptions import DvcException
from dvc.repo import Repo
from filelock import FileLock, Timeout

from pipeline.common.shell import UserError, one_line, run
from tools.experiments import SWEEPS, short_names
from tools.sweep import trial
from tools.sweep.space import TRIALS, Space, parse_space, plan, progress
from tools.sweep.trial import Source, Values, experiment, line, written

BEST = 5
ENOUGH = 10  # Trials for a correlation.
# Not of the test images: values chosen by them would look better on them than on others.
METRIC = "val_accuracy"
PRUNABLE = ("val_accuracy", "val_loss")  # What the history has for each epoch.


def parse() -> argparse.Namespace:
    """Return the arguments; raise a UserError where one is out of range."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.sweep",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("targets", metavar="STAGE", nargs="*", help="stages to run; all")
    help_of_s = "a parameter and its values; may be given several times"
    add("-S", metavar="KEY=VALUES", dest="sets", action="append", required=True, help=help_of_s)
    how = "all combinations, some, or promising ones by the results so far; grid, tpe for intervals"
    add("--search", choices=("grid", "random", "tpe"), help=how)
    add("--trials", metavar="N", type=int, help="how many; the whole grid, else 20")
    what = f"the lowest loss or error wins, the highest of anything else; {METRIC}"
    add("--metric", default=METRIC, help=what)
    add("--prune", action="store_true", help="stop a trial that is worse than others at its epoch")
    add("--seed", type=int, default=0, help="of the search; 0")
    add("--jobs", metavar="N", type=int, help="trials at once; as many as fit")
    add("--cpus", metavar="N", type=int, help="processors of each; 1, or an equal share a GPU")
    add("--gpus", metavar="N", type=float, help="GPUs of each; 1 where there are any")
    add("--address", help="of a Ray cluster, HOST:PORT or auto; this machine alone")
    add("--remote", default="origin", help="the Git remote that a cluster's machines reach; origin")
    add("--only", metavar="K", type=int, help="run trial K alone, from 0, as one of a job array")
    arguments = parser.parse_args()
    if arguments.prune and arguments.metric not in PRUNABLE:
        raise UserError(f"--prune --metric {arguments.metric}: allowed are {', '.join(PRUNABLE)}")
    for option, least in {"trials": 1, "jobs": 1, "cpus": 1, "gpus": 0, "seed": 0}.items():
        given = getattr(arguments, option)
        if given is not None and not given >= least:
            raise UserError(f"--{option} {given}: allowed is {least} or more")
    return arguments


def main() -> None:
    """Run a sweep; exit code 1 where a trial failed."""
    arguments = parse()
    try:
        getpass.getuser()
    except (KeyError, OSError):
        # In a container, a user may have no name, which DVC and Ray ask for.
        os.environ["USER"] = f"{os.getuid()}"
    space = parse_space(arguments.sets)
    planned = plan(space, arguments)
    try:
        source = source_of(arguments)
        if arguments.only is None:
            failed = sweep(source, space, planned, arguments)
        else:
            failed = alone(source, planned, arguments.only)
    except (trial.TrialError, DvcException) as error:
        raise UserError(one_line(error)) from None
    sys.exit(failed)


def source_of(arguments: argparse.Namespace) -> Source:
    """Return where the trials come from; push the commit where a cluster's machines reach it.

    Raises:
        UserError: the repository has uncommitted changes, the stages do not write the metric, or
            there is no storage to share results by.
    """
    here = Path.cwd()
    if not Path(".dvc").is_dir() or not Path("dvc.yaml").exists():
        raise UserError("dvc.yaml: missing; run in the folder that holds it")
    if trial.call(["git", "rev-parse", "--shared-index-path"], here):
        raise UserError(
            "core.splitIndex: DVC waits forever for such an index; `git config core.splitIndex "
            "false && git update-index --no-split-index` makes it one file"
        )
    listing = ["git", "-c", "core.quotePath=false", "diff", "--name-only", "--relative", "HEAD"]
    changed = trial.call(listing, here)
    if changed:
        raise UserError(
            f"{', '.join(changed.splitlines())}: changed since the last commit, which the trials "
            "start from; commit it or put it back"
        )
    metric, targets = arguments.metric, arguments.targets
    with Repo() as repo:
        stages = [s for name in targets for s in repo.stage.collect(name, with_deps=True)]
        outs = [out for stage in stages or repo.index.stages for out in stage.outs]
        metrics = sorted({out.def_path for out in outs if out.metric})
        in_git = {out.def_path for out in repo.index.outs if not out.use_cache}
        stale = sorted(in_git - {out.def_path for out in outs})
        cache = repo.cache.local_cache_dir
        # Clones see what is committed.
        storage = repo.config.load_one("repo")["core"].get("remote")
    files = [json.loads(Path(file).read_text()) for file in metrics if Path(file).exists()]
    names = [name for numbers in files for name in numbers]
    if names and metric not in names:
        raise UserError(
            f"--metric {metric}: not in {', '.join(metrics)} (val_ needs validation images); "
            f"allowed are {', '.join(names)}"
        )
    commit = trial.call(["git", "rev-parse", "HEAD"], here)
    places = trial.call(["git", "rev-parse", "--show-toplevel", "--show-prefix"], here)
    top, _, prefix = places.partition("\n")
    facts = ("sets", "search", "seed", "targets", "metric")
    name = f"sweep-{trial.digest(commit, *(getattr(arguments, fact) for fact in facts))}"
    folder = str(SWEEPS.resolve() / name)
    if not arguments.address:
        return Source(name, metric, top, commit, folder, cache, targets, metrics, stale, prefix)
    if not storage:
        raise UserError(
            "no DVC remote, by which machines share results; "
            "`dvc remote add --default NAME ADDRESS` names one, then commit it"
        )
    address = trial.call(["git", "remote", "get-url", arguments.remote], here)
    # A path means the same wherever it is read.
    path = Path(top, address)
    address = str(path.resolve()) if path.exists() else address
    reference = f"refs/sweeps/{name}"
    trial.call(["git", "push", "--no-verify", "--force", address, f"HEAD:{reference}"], here)
    return Source(name, metric, address, reference, None, None, targets, metrics, stale, prefix)


def sweep(source: Source, space: Space, planned: list[Values], options: argparse.Namespace) -> bool:
    """Run what is left of a sweep, and list the best; say whether a trial failed."""
    count = len(planned) or options.trials or TRIALS
    which = {"min": "lowest", "max": "highest"}[source.mode]
    where = source.folder or f"~/.cache/{trial.CLONES}"
    what = f"{count} trials of {' '.join(source.targets) or 'all stages'}"
    print(f"{source.sweep}: {what}, the {which} {source.metric} wins; logs in {where}", flush=True)
    journal = SWEEPS / source.sweep / "tried.jsonl"
    journal.parent.mkdir(parents=True, exist_ok=True)
    ends = Counter[str]()
    try:
        with FileLock(f"{journal}.lock", timeout=0):
            known = experiments(source.metric)
            state = progress(journal, source.sweep, planned, known, count)
            if state.left:
                # Ray takes seconds to import.
                from tools.sweep.tuning import tune_all

                report = tune_all(source, space, state, options)
                ends, known = report.ends, known | report.results
                print(", ".join(f"{number} {end}" for end, number in sorted(ends.items())))
    except Timeout:
        raise UserError(f"{source.sweep}: the same sweep is running; wait for its end") from None
    show(source, [(known[name], name, v) for name, v in state.tried.items() if name in known])
    return ends["failed"] > 0


def experiments(metric: str) -> dict[str, float]:
    """Return the metric of each experiment that is derived from HEAD and has it, by its name."""
    rows = dvc.api.exp_show()
    return {row["Experiment"]: row[metric] for row in rows if isinstance(row.get(metric), float)}


def alone(source: Source, planned: list[Values], number: int) -> bool:
    """Run one trial, unless DVC has its experiment; say whether it failed."""
    if not planned:
        raise UserError("--only: tpe chooses by earlier trials; allowed are --search grid, random")
    if not 0 <= number < len(planned):
        raise UserError(f"--only {number}: allowed is 0 to {len(planned) - 1}")
    values, why = planned[number], ""
    result = experiments(source.metric).get(experiment(source.sweep, values))
    if result is None:
        *_, last = trial.attempt(values, source, 0)
        result, why = last[source.metric], last["failed"]
    print(line(source, values, "failed" if why else result, why))
    return bool(why)


def show(source: Source, done: list[tuple[float, str, Values]]) -> None:
    """Print the best trials, which keys went with the metric, and how to get the best one."""
    if not done:
        return
    rows = [{source.metric: result, "experiment": name} | values for result, name, values in done]
    lowest = source.mode == "min"
    table = pd.DataFrame(rows).sort_values(source.metric, ascending=lowest, kind="stable")
    table = table.rename(columns=short_names([*table.columns[2:]]))
    varied = [key for key in table.columns[2:] if table[key].nunique() > 1]
    shown = table[[source.metric, "experiment", *varied]].head(BEST)
    print(shown.to_string(index=False, formatters=dict.fromkeys(varied, written)))
    if len(table) >= ENOUGH:
        print(f"rank correlation with {source.metric} (Spearman's, {len(table)} trials)")
        print(rank_correlations(table).to_string(float_format="%.2f"))
    rest = ", and `dvc repro` runs the other stages" if source.stale and source.targets else ""
    best = table["experiment"].iloc[0]
    print(f"`dvc exp apply {best}` brings the best one into the workspace{rest}")


def rank_correlations(table: pd.DataFrame) -> pd.Series:
    """Return Spearman's correlation of the first column with each from the third on, -1 to 1.

    "The proof and measurement of association between two things", 1904. It needs numbers.
    """
    numbers = table.iloc[:, 2:].apply(pd.to_numeric, errors="coerce")
    return numbers.loc[:, numbers.nunique() > 1].corrwith(table.iloc[:, 0], method="spearman")


if __name__ == "__main__":
    run(main)
