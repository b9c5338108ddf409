"""List trainings, the best first: of commits, of experiments, and of a sweep's running trials.

Those that differ by the seed alone are one row, with the means over n seeds, and the lowest and the
highest val_accuracy. Beside them stand the parameters by which rows differ.
"""

import argparse
import json
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.utils.flatten import flatten
from filelock import FileLock, Timeout
from rich.live import Live
from ruamel.yaml import YAML

from pipeline.common.paths import EVALUATE_METRICS, MODEL, PARAMS, TRAIN_METRICS
from pipeline.common.shell import UserError, one_line, run
from tools.sweep.trial import written

# Of the validation images, by which one chooses, and of the test images.
CHOSEN_BY, TESTED_BY = "val_accuracy", "accuracy"
SWEEPS = Path(".dvc/tmp/sweeps")
PAUSE = 2.0  # Seconds between two looks with --live.


@dataclass(frozen=True)
class Training:
    """What one seed gave."""

    name: str  # A revision, or a trial that will be one.
    commit: str  # Whose code it ran.
    state: str  # Empty when it has ended; else, how many epochs are left, once it is known.
    params: dict[str, Any]  # By their dotted keys.
    metrics: dict[str, float]

    @property
    def setting(self) -> str:
        """Return all that may differ between two trainings, but for the seed."""
        others = {key: value for key, value in self.params.items() if key != "seed"}
        return json.dumps([self.commit, self.state, others], sort_keys=True, default=str)


def trainings(commits: int = 1, all_commits: bool = False) -> list[Training]:
    """Return the trainings of so many last commits, of their experiments and of running trials.

    The workspace is one of them where its results are not the last commit's.

    Raises:
        UserError: this is no project of DVC, or has no commit.
    """
    try:
        with Repo() as repo:
            shown = repo.experiments.show(num=commits, all_commits=all_commits)
            root = Path(repo.root_dir)
    except DvcException as error:
        raise UserError(one_line(error)) from None
    workspace, *committed = (entry.dumpd() for entry in shown)
    found = []
    for entry in committed:
        found.append(training_of(entry, entry["rev"]))
        for experiment in entry["experiments"] or ():
            state = (experiment["executor"] or {}).get("state", "success")
            # Of an experiment's revisions, the first one is the newest.
            newest = experiment["revs"][0] | {"name": experiment["name"]}
            found.append(training_of(newest, entry["rev"], state))
    here = training_of(workspace | {"name": "workspace"}, "workspace")
    if not found or (here.params, here.metrics) != (found[0].params, found[0].metrics):
        found.append(here)
    return [*found, *running_trials(root / SWEEPS)]


def training_of(entry: dict[str, Any], commit: str, state: str = "success") -> Training:
    """Return one of what `dvc exp show` has, without test results that are of another model."""
    data = entry["data"] or {"params": {}, "metrics": {}, "deps": {}, "outs": {}}
    read = {path: held.get("data") or {} for path, held in data["metrics"].items()}
    tested, made = (data[kind].get(f"{MODEL}") for kind in ("deps", "outs"))
    if tested and made and tested["hash"] != made["hash"]:
        read.pop(f"{EVALUATE_METRICS}", None)
    metrics = {k: v for numbers in read.values() for k, v in numbers.items()}
    left = metrics.pop("epochs_left", None)
    told = "" if state == "success" else state.lower()
    return Training(
        entry["name"] or entry["rev"][:7],
        commit,
        told if left is None else f"{left} left",
        flatten((data["params"].get(f"{PARAMS}") or {}).get("data") or {}),
        metrics,
    )


def running_trials(sweeps: Path) -> list[Training]:
    """Return the trials that train at this moment, in clones of their own on this machine."""
    found = []
    for clone in sorted(path.parent for path in sweeps.glob(f"*/*/{PARAMS}")):
        try:
            with FileLock(f"{clone}.lock", timeout=0):
                continue
        except Timeout:
            pass
        try:
            metrics = json.loads((clone / TRAIN_METRICS).read_text())
        except (OSError, ValueError):
            # Before its first epoch.
            metrics = {}
        # Before the training starts, it is the commit's.
        left = metrics.pop("epochs_left", None)
        state = "starts" if left is None else f"{left} left"
        params = flatten(YAML(typ="safe").load((clone / PARAMS).read_text()))
        results = {k: v for k, v in metrics.items() if left is not None and k == CHOSEN_BY}
        found.append(Training(clone.name, "sweep", state, params, results))
    return found


def table_of(found: list[Training]) -> pd.DataFrame:
    """Return a row for each setting, the best first."""
    settings: dict[str, dict[Any, Training]] = {}
    for training in found:
        # Once more with the same seed is no other draw.
        settings.setdefault(training.setting, {}).setdefault(training.params.get("seed"), training)
    seeds = [[*each.values()] for each in settings.values()]
    keys = differing([trained[0].params for trained in seeds])
    rows = []
    for trained in seeds:
        chosen, tested = (
            pd.Series([t.metrics[k] for t in trained if k in t.metrics], dtype=float)
            for k in (CHOSEN_BY, TESTED_BY)
        )
        row = {"experiment": trained[0].name, "n": len(trained), CHOSEN_BY: chosen.mean()}
        row |= {"lowest": chosen.min(), "highest": chosen.max(), TESTED_BY: tested.mean()}
        row |= {name: trained[0].params.get(key) for key, name in keys.items()}
        rows.append(row | {"state": trained[0].state})
    table = pd.DataFrame(rows)
    return table.sort_values([CHOSEN_BY, TESTED_BY], ascending=False, kind="stable")


def differing(params: list[dict[str, Any]]) -> dict[str, str]:
    """Return the keys whose values differ, with their short names.

    Of recipes, only those are looked at that one of them trains.
    """
    recipes = {each.get("recipe") for each in params}
    keys = []
    for key in dict.fromkeys(key for each in params for key in each):
        first, _, rest = key.partition(".")
        if first != "recipes" or rest.partition(".")[0] in recipes:
            values = {json.dumps(each.get(key), default=str) for each in params}
            if len(values) > 1 and key != "seed":
                keys.append(key)
    return short_names(keys)


def short_names(keys: list[str]) -> dict[str, str]:
    """Return the shortest end of each dotted key that no other one has."""
    names = {}
    for key in keys:
        parts = key.split(".")
        ends = (".".join(parts[n:]) for n in reversed(range(len(parts))))
        alone = (e for e in ends if sum(f".{k}".endswith(f".{e}") for k in keys) == 1)
        names[key] = next(alone, key)
    return names


def text_of(table: pd.DataFrame, width: int) -> str:
    """Return the table as text, without the parameters for which there is no room."""
    shown = table.copy()
    if (table["n"] == 1).all():
        shown = shown.drop(columns=["lowest", "highest"])
    if not table["state"].any():
        shown = shown.drop(columns="state")
    accuracies = [CHOSEN_BY, TESTED_BY, "lowest", "highest"]
    for name in shown:
        kind = "{:.4f}".format if name in accuracies else written
        shown[name] = ["" if v is None or v != v else kind(v) for v in shown[name]]
    left_out = 0
    while True:
        text = shown.to_string(index=False)
        if len(text.partition("\n")[0]) <= width or shown.shape[1] <= 4:
            break
        # The parameters stand before the state.
        last = [name for name in shown if name != "state"][-1]
        shown, left_out = shown.drop(columns=last), left_out + 1
    return f"{text}\n{left_out} columns more: --csv" if left_out else text


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tools.experiments",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("-n", "--num", metavar="N", type=int, default=1, help="of so many last commits; 1")
    add("-A", "--all-commits", action="store_true", help="of all commits")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--live", action="store_true", help="until nothing runs any more, or Ctrl-C")
    how.add_argument("--csv", action="store_true", help="every column, as CSV")
    how.add_argument("--json", action="store_true", help="every column, as JSON")
    arguments = parser.parse_args()
    if arguments.num < 1:
        raise UserError(f"--num {arguments.num}: allowed is 1 or more")

    def found() -> pd.DataFrame:
        return table_of(trainings(arguments.num, arguments.all_commits))

    table = found()
    if arguments.csv:
        table.to_csv(sys.stdout, index=False)
    elif arguments.json:
        print(table.to_json(orient="records", indent=2))
    elif arguments.live:
        with Live(auto_refresh=False) as live:
            while True:
                live.update(text_of(table, live.console.width), refresh=True)
                if not table["state"].str.contains("left|starts|running|queued").any():
                    return
                time.sleep(PAUSE)
                table = found()
    else:
        print(text_of(table, shutil.get_terminal_size().columns))


if __name__ == "__main__":
    run(main)
