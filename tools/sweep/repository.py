"""The repository that a sweep starts from: what it must have, and what DVC knows of experiments."""

import json
from pathlib import Path

import dvc.api
import pandas as pd
from dvc.exceptions import DvcException
from dvc.repo import Repo

from stages.errors import InputError, in_one_line
from tools.sweep import trial
from tools.sweep.search import FOLDER
from tools.sweep.trial import Source, TrialError

REFERENCES = "refs/sweeps"


def call(*command: str) -> str:
    """Return what a command prints in this folder.

    Raises:
        InputError: it failed.
    """
    try:
        return trial.call([*command], Path.cwd()).strip()
    except TrialError as error:
        raise InputError(str(error)) from None


def revision() -> str:
    """Return the commit whose parameters the trials change.

    Raises:
        InputError: this is not the repository's top folder, or it has changes that trials would
            not see.
    """
    if not Path(".dvc").is_dir() or not Path("dvc.yaml").exists():
        raise InputError("dvc.yaml: missing; run in the folder that holds it")
    commit = call("git", "rev-parse", "HEAD")
    changed = call("git", "-c", "core.quotePath=false", "diff", "--name-only", "HEAD").splitlines()
    if changed:
        raise InputError(
            f"{', '.join(changed)}: changed since the last commit, which the trials start from; "
            "commit it or put it back"
        )
    return commit


def source(name: str, remote: str | None, targets: tuple[str, ...], metric: str) -> Source:
    """Return where the trials of a sweep come from, with the commit put there.

    Args:
        name: of the sweep.
        remote: the Git remote that other machines reach; None is this folder.
        targets: the stages to run.
        metric: what they are judged by.

    Raises:
        InputError: these stages do not write the metric, the remote is missing or refuses, or there
            is no storage to share results by.
    """
    metrics = metrics_of(targets)
    if targets:
        refuse_metric(metric, metrics)
    address = call("git", "remote", "get-url", remote) if remote else str(Path.cwd())
    if remote and Path(address).exists():
        address = str(Path(address).resolve())
    if remote:
        try:
            # Clones see what is committed.
            call("dvc", "config", "--project", "core.remote")
        except InputError:
            raise InputError(
                "no DVC remote, by which machines share results; "
                "`dvc remote add --default NAME ADDRESS` names one, then commit it"
            ) from None
    cache = None if remote else call("dvc", "cache", "dir")
    reference = f"{REFERENCES}/{name}"
    call("git", "push", "--quiet", "--force", address, f"HEAD:{reference}")
    folder = None if remote else str(FOLDER.resolve() / name)
    return Source(address, reference, folder, cache, targets, metrics)


def metrics_of(targets: tuple[str, ...]) -> tuple[str, ...]:
    """Return the metrics files that some stages and those before them write; of none, all.

    The others would be found in a clone as well, with what the commit has in them.

    Raises:
        InputError: there is no such stage.
    """
    with Repo() as repo:
        try:
            stages = [
                stage
                for target in targets or (None,)
                for stage in repo.stage.collect(target, with_deps=target is not None)
            ]
        except DvcException as error:
            raise InputError(in_one_line(error)) from None
        outs = {out.def_path for stage in stages for out in stage.outs if out.metric}
    return tuple(sorted(outs))


def refuse_metric(metric: str, written: tuple[str, ...]) -> None:
    """Raise an InputError where the metric is of a stage that does not run.

    Args:
        metric: the name of a number in one of the metrics files.
        written: the metrics files of the stages that run.
    """

    def holds(file: str) -> bool:
        return Path(file).exists() and metric in json.loads(Path(file).read_text())

    others = [file for file in metrics_of(()) if file not in written and holds(file)]
    if others and not any(map(holds, written)):
        raise InputError(
            f"--metric {metric}: in {others[0]}, which the stages that run do not write; "
            f"{f'allowed is one in {written[0]}' if written else 'name a stage that does'}"
        )


def experiments(metric: str) -> dict[str, float]:
    """Return the metric of each experiment that is derived from HEAD and has it, by its name."""
    table = pd.DataFrame(dvc.api.exp_show())
    if metric not in table:
        return {}
    values = pd.to_numeric(table[metric], errors="coerce")
    known = table[(table["typ"] != "baseline") & values.notna()].index
    return {str(table["Experiment"][row]): float(values[row]) for row in known}


def pull(remote: str, name: str) -> None:
    """Bring an experiment here, with its results.

    Raises:
        InputError: it cannot be had.
    """
    call("dvc", "exp", "pull", "--force", remote, name)
