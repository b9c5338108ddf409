"""List trainings, the best first: of commits, of experiments, and of a sweep's running trials.

Those that differ by the seed alone are one row, with the means over n seeds, and the lowest and the
highest val_accuracy. Beside them stand the parameters by which rows differ.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.utils.flatten import flatten
from filelock import FileLock, Timeout
from rich.live import Live
from rich.text import Text

from pipeline.common.params import parse_yaml
from pipeline.common.paths import PARAMS, TRAIN_METRICS
from pipeline.common.shell import Interrupted, UserError, one_line, run
from tools.sweep.trial import written

# Of the validation images, by which one chooses, and of the test images.
CHOSEN_BY, TESTED_BY = "val_accuracy", "accuracy"
SWEEPS = Path(".dvc/tmp/sweeps")
PAUSE = 2.0  # Seconds between two looks with --live.


@dataclass(frozen=True)
class Training:
    """What one seed gave."""

    name: str  # A revision, or a trial that will be one.
    state: str  # Empty when it has ended; `N left` are the epochs of one that runs.
    code: dict[str, Any]  # The digests of what it ran and read, by their paths.
    params: dict[str, Any]  # By their dotted keys.
    metrics: dict[str, float]

    @property
    def setting(self) -> str:
        """Return all that may differ between two trainings, but for the seed."""
        others = {key: value for key, value in self.params.items() if key != "seed"}
        return json.dumps([self.code, self.state, others], sort_keys=True, default=str)


def runs(state: str) -> bool:
    return state in ("running", "starts") or state.endswith(" left")


def trainings(commits: int = 1, all_commits: bool = False) -> list[Training]:
    """Return the trainings of so many last commits, of their experiments and of running trials.

    The last commit comes first. The workspace is one of them where its results are not that one's.

    Raises:
        UserError: this is no project of DVC, or has no commit.
    """
    try:
        with Repo() as repo:
            shown = repo.experiments.show(num=commits, all_commits=all_commits)
            root = Path(repo.root_dir)
            prefix = root.relative_to(Path(repo.scm.root_dir).resolve())
    except DvcException as error:
        raise UserError(one_line(error)) from None
    if len(shown) < 2:
        raise UserError("no commit yet, which experiments are derived from")
    workspace, *committed = (entry.dumpd() for entry in shown)
    found = []
    for entry in committed:
        found.append(training_of(entry, root))
        for experiment in entry["experiments"] or ():
            state = (experiment["executor"] or {}).get("state", "success").lower()
            # Of an experiment's revisions, the first one is the newest.
            newest = experiment["revs"][0] | {"name": experiment["name"]}
            found.append(training_of(newest, root, state))
    here = training_of(workspace | {"name": "workspace"}, root, "" if is_busy(root) else "success")
    known = [found[0], *(each for each in found if runs(each.state))]
    if not any((here.params, here.metrics) == (each.params, each.metrics) for each in known):
        found.append(here)
    return [*found, *running_trials(root / SWEEPS, prefix)]


def training_of(entry: dict[str, Any], root: Path, state: str = "success") -> Training:
    """Return one of what `dvc exp show` has, without results that are of another training.

    Where it runs in a state without a name, its metrics alone tell.
    """
    data = entry["data"] or {"params": {}, "metrics": {}}
    params = (data["params"].get(f"{PARAMS}") or {}).get("data") or {}
    lock = lock_of(entry["rev"], root)
    stale = outdated(lock, params)
    metrics: dict[str, Any] = {}
    for path, read in data["metrics"].items():
        held = read.get("data")
        if isinstance(held, dict) and (path not in stale or "epochs_left" in held):
            metrics |= {k: v for k, v in held.items() if type(v) in (int, float)}
    left = metrics.get("epochs_left")
    if state == "success":
        told = "" if left is None else "stopped"
    else:
        told = state if left is None or state not in ("", "running") else f"{left} left"
    metrics, code = (so_far(metrics), {}) if told else (metrics, inputs_of(lock))
    return Training(entry["name"] or entry["rev"][:7], told, code, flatten(params), metrics)


def so_far(metrics: dict[str, Any]) -> dict[str, float]:
    """Return what a training that has not ended wrote; the rest of its metrics is the commit's."""
    return {k: v for k, v in metrics.items() if "epochs_left" in metrics and k == CHOSEN_BY}


def lock_of(revision: str, root: Path) -> dict[str, Any]:
    """Return the stages in the dvc.lock of a commit or of the workspace."""
    try:
        if revision == "workspace":
            text = (root / "dvc.lock").read_text()
        else:
            command = ["git", "show", f"{revision}:./dvc.lock"]
            text = subprocess.run(command, cwd=root, capture_output=True, text=True).stdout
        return (parse_yaml(text, "dvc.lock") or {}).get("stages") or {}
    except (OSError, UserError):
        return {}


def inputs_of(lock: dict[str, Any]) -> dict[str, Any]:
    """Return the digests of what the stages read and none of them made: code, and pictures."""
    made = {out["path"] for stage in lock.values() for out in stage.get("outs", ())}
    deps = [dep for stage in lock.values() for dep in stage.get("deps", ())]
    return {dep["path"]: dep.get("md5") for dep in deps if dep["path"] not in made}


def outdated(lock: dict[str, Any], params: dict[str, Any]) -> set[str]:
    """Return the files that were made by other parameters, or from other files, than are there.

    Where an experiment has trained and not evaluated, these are the test results and figures of the
    commit that it started from; where a new value was committed before it was run, all results.
    """
    made = {out["path"]: out.get("md5") for s in lock.values() for out in s.get("outs", ())}
    found: set[str] = set()
    # What is made from them is outdated as well; no chain is longer than there are stages.
    for _ in lock:
        for stage in lock.values():
            deps = {dep["path"]: dep.get("md5") for dep in stage.get("deps", ())}
            recorded = stage.get("params", {}).get(f"{PARAMS}", {})
            if any(
                path in found or made.get(path, md5) != md5 for path, md5 in deps.items()
            ) or any(at(params, key) != value for key, value in recorded.items()):
                found |= {out["path"] for out in stage.get("outs", ())}
    return found


def at(params: Any, key: str) -> Any:
    """Return the value at a dotted key; None where there is none."""
    for part in key.split("."):
        params = params.get(part) if isinstance(params, dict) else None
    return params


def is_busy(root: Path) -> bool:
    """Return whether DVC runs a stage in the workspace."""
    try:
        writers = json.loads((root / ".dvc/tmp/rwlock").read_text()).get("write", {}).values()
        return any(psutil.pid_exists(writer["pid"]) for writer in writers)
    except (OSError, ValueError, LookupError):
        return False


def running_trials(sweeps: Path, prefix: Path) -> list[Training]:
    """Return the trials that train at this moment, in clones of their own on this machine."""
    found = []
    for clone in sorted(path for path in sweeps.glob("*/*") if path.is_dir()):
        project = clone / prefix
        with suppress(Timeout), FileLock(f"{clone}.lock", timeout=0):
            continue
        metrics: dict[str, Any] = {}
        # It may end, or be written, at this very moment.
        with suppress(OSError, ValueError):
            metrics = json.loads((project / TRAIN_METRICS).read_text())
        with suppress(OSError, UserError):
            params = flatten(parse_yaml((project / PARAMS).read_text(), PARAMS) or {})
            state = f"{metrics['epochs_left']} left" if "epochs_left" in metrics else "starts"
            found.append(Training(clone.name, state, {}, params, so_far(metrics)))
    return found


def table_of(found: list[Training]) -> pd.DataFrame:
    """Return a row for each setting, the best first."""
    settings: dict[str, dict[Any, Training]] = {}
    for training in found:
        seeds_of = settings.setdefault(training.setting, {})
        # Once more with the same seed is no other draw. One that was tested tells more.
        known = seeds_of.get(seed := training.params.get("seed"))
        if known is None or (TESTED_BY in training.metrics and TESTED_BY not in known.metrics):
            seeds_of[seed] = training
    seeds = [[*each.values()] for each in settings.values()]
    keys = differing([trained[0].params for trained in seeds])
    rows = []
    for trained in seeds:
        chosen, tested = (
            pd.Series([t.metrics[k] for t in trained if k in t.metrics], dtype=float)
            for k in (CHOSEN_BY, TESTED_BY)
        )
        row = {"experiment": trained[0].name, "n": len(trained), CHOSEN_BY: chosen.mean()}
        row |= {"lowest": chosen.min(), "highest": chosen.max()}
        row |= {TESTED_BY: tested.mean() if len(tested) == len(trained) else None}
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


def follow(commits: int, all_commits: bool) -> None:
    """Show the table until nothing runs any more, first what runs."""
    with suppress(Interrupted), Live(auto_refresh=False) as live:
        while True:
            table = table_of(trainings(commits, all_commits))
            running = table["state"].map(runs)
            text = text_of(pd.concat([table[running], table[~running]]), live.console.width)
            lines = text.splitlines()[: live.console.height - 1]
            live.update(Text("\n".join(lines), no_wrap=True), refresh=True)
            if not running.any():
                return
            time.sleep(PAUSE)


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

    if arguments.live:
        follow(arguments.num, arguments.all_commits)
        return
    table = table_of(trainings(arguments.num, arguments.all_commits))
    if arguments.csv:
        table.to_csv(sys.stdout, index=False)
    elif arguments.json:
        print(table.to_json(orient="records", indent=2))
    else:
        print(text_of(table, shutil.get_terminal_size().columns))


if __name__ == "__main__":
    run(main)
