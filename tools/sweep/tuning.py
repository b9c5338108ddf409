"""Trials on Ray Tune, which chooses values and runs trials where processors and GPUs are free.

A trial whose worker or machine is lost is started again, elsewhere if need be.
"""

import logging
import math
import os
import signal
import sys
from argparse import Namespace
from collections import Counter
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

# Read on import: no reports to Ray's makers, a trial without GPUs may see them, what a person reads
# is ours, and a moment without news has no metric.
os.environ |= {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
}
import ray
from joblib import cpu_count
from optuna.samplers import TPESampler
from ray import tune
from ray.tune.schedulers import MedianStoppingRule
from ray.tune.search.optuna import OptunaSearch

from pipeline.common.shell import Interrupted, UserError, one_line
from tools.sweep import trial as running
from tools.sweep.space import Progress, Space, note
from tools.sweep.trial import Source, TrialError, Values, attempt, experiment

# What a training takes at most, for Ray not to start more than the memory holds.
MEMORY = 4 * 1024**3
RETRIES = 3
OTHERS = 5  # The trials by whose median another one is given up.


class Trial(tune.Trainable):
    """A trial as a worker of Ray runs it, which looks at it every moment and can stop it then."""

    def setup(self, config: Values, **given: Any) -> None:
        self.news = attempt(config, **given)

    def step(self) -> dict[str, Any]:
        return next(self.news)

    def cleanup(self) -> None:
        self.news.close()


class Search(OptunaSearch):
    """The tree-structured Parzen estimator (Bergstra et al., NIPS 2011), by whole trials."""

    def on_trial_result(self, trial_id: str, result: dict) -> None:
        """Leave epochs to the pruner."""


class Report(tune.Callback):
    """Says what becomes of each trial, notes it, and brings its experiment here from a cluster."""

    def __init__(self, source: Source, state: Progress, remote: str | None):
        self.source, self.state, self.remote = source, state, remote
        self.ends, self.results = Counter[str](), dict[str, float]()

    def on_trial_start(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        self.state.tried[experiment(self.source.sweep, trial.config)] = trial.config
        note(self.state.journal, trial.config)

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        name, last = experiment(self.source.sweep, trial.config), trial.last_result
        why, result = last.get("failed"), last.get(self.source.metric, math.nan)
        try:
            if self.remote and why == "":
                running.call(["dvc", "exp", "pull", "--force", self.remote, name], Path.cwd())
        except TrialError as error:
            why = str(error)
        if not why and math.isfinite(result):
            note(self.state.journal, trial.config, result)
        if why == "":
            self.results[name] = result
        self.say("failed" if why else "pruned" if why is None else "done", trial, why or "")

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        self.say("failed", trial, f"lost {RETRIES + 1} times: {trial.get_error()}")

    def on_trial_recover(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        self.say("lost", trial, "its worker or machine is gone; it starts again")

    def say(self, what: str, trial: Any, why: str = "") -> None:
        self.ends[what] += 1
        result = self.results.get(experiment(self.source.sweep, trial.config), what)
        told = running.line(self.source, trial.config, result, one_line(why) if why else "")
        print(f"{self.ended()}/{self.state.left} {told}", file=sys.__stdout__, flush=True)

    def ended(self) -> int:
        return self.ends.total() - self.ends["lost"]


def tune_all(source: Source, space: Space, state: Progress, options: Namespace) -> Report:
    """Run the trials that are left, as many at once as fit, and return what became of them.

    Raises:
        UserError: there is no such cluster, or no machine that a trial fits.
    """
    # The machines of a cluster have the project's packages, not its code.
    for module in (running, sys.modules[__name__]):
        ray.cloudpickle.register_pickle_by_value(module)
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    report = Report(source, state, options.remote if options.address else None)
    asked = [signal.SIGINT]

    def end(number: int, frame: Any) -> None:
        # Tune ends all trials by SIGINT. An exception of our own would break a call of Ray.
        asked.append(signal.Signals(number))
        signal.raise_signal(signal.SIGINT)

    signal.signal(signal.SIGTERM, end)
    # The path of a socket has at most 107 bytes, of which Ray's own part takes 76.
    parent = gettempdir() if len(os.fsencode(gettempdir())) <= 30 else "/tmp"
    # Where a machine is lost, Ray prints its log.
    with (
        open(os.devnull, "w") as nothing,
        redirect_stdout(nothing),
        TemporaryDirectory(dir=parent, ignore_cleanup_errors=True) as folder,
    ):
        connect(options.address, folder)
        try:
            needed, fitting = needs(options.cpus, options.gpus)
            at_once = min(fitting, options.jobs or fitting, state.left)
            each = f"--cpus {needed['cpu']:g} --gpus {needed['gpu']:g}"
            told = f"{state.left} to run, {at_once} at once, each with {each}"
            if not options.address:
                told += "\n`python -m tools.experiments --live` shows how far they are"
            print(told, file=sys.__stdout__, flush=True)
            # With a GPU, a trial shares the machine's processors with others.
            own = 0 if needed["gpu"] else int(needed["cpu"])
            task = tune.with_parameters(Trial, source=source, processors=own)
            tune_config = tune.TuneConfig(
                num_samples=state.left,
                max_concurrent_trials=at_once,
                search_alg=search(source, space, state, options),
                scheduler=pruner(source) if options.prune else None,
            )
            run_config = tune.RunConfig(
                storage_path=folder,
                callbacks=[report],
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                failure_config=tune.FailureConfig(max_failures=RETRIES),
                verbose=0,
            )
            task = tune.with_resources(task, needed)
            tune.Tuner(task, tune_config=tune_config, run_config=run_config).fit()
        finally:
            ray.shutdown()
            if source.folder:
                # Of workers that Ray has killed.
                running.end_processes(Path(source.folder))
    if report.ended() < state.left:
        raise Interrupted(asked[-1])
    return report


def connect(address: str | None, folder: str) -> None:
    """Join the cluster at an address, or start Ray on this machine, with its files in a folder."""
    own = {"num_cpus": cpu_count(), "object_store_memory": 100 * 1024**2, "_temp_dir": folder}
    options: dict[str, Any] = {} if address else own | {"include_dashboard": False}
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    try:
        ray.init(address or "local", **options, **quiet)
    # Of a machine too busy to start within half a minute, Ray raises no kind of its own.
    except Exception as error:
        where = f"--address {address}" if address else "Ray"
        raise UserError(f"{where}: {one_line(error)}") from None


def search(source: Source, space: Space, state: Progress, options: Namespace) -> Search:
    """Return what chooses values: first those without a result, then what others suggest."""
    again = [values for name, values in state.tried.items() if name not in state.ended]
    # With the seed of those drawn before, the next ones would be the same again. What runs counts
    # as bad for now, so that the next ones differ.
    sampler = TPESampler(seed=(options.seed + len(state.tried)) % 2**32, constant_liar=True)
    chosen = Search(space, source.metric, source.mode, again, sampler)
    for name, values in state.tried.items():
        if name in state.ended:
            chosen.add_evaluated_point(values, state.ended[name])
    return chosen


def pruner(source: Source) -> MedianStoppingRule:
    """Return the median rule of Google Vizier (Golovin et al., KDD 2017)."""
    # With a finite time slice, trials would pause until others have come as far.
    no_pause: Any = math.inf
    return MedianStoppingRule("epoch", source.metric, source.mode, 1, OTHERS, no_pause)


def needs(processors: int | None, gpus: float | None) -> tuple[dict[str, float], int]:
    """Return what a trial takes of a machine, and how many trials the machines can run at once.

    By default a trial takes one GPU where there are any, with its equal share of the processors.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    total = {k: sum(node.get(k, 0) for node in nodes) for k in ("CPU", "GPU", "memory")}
    gpus = min(total["GPU"], 1) if gpus is None else gpus
    if processors is None:
        share = total["CPU"] / total["GPU"] * gpus if gpus and total["GPU"] else 1
        processors = max(1, int(share))
    needed = {"CPU": processors, "GPU": gpus, "memory": MEMORY}
    fitting = sum(min(int(node.get(k, 0) // n) for k, n in needed.items() if n) for node in nodes)
    if not fitting:
        raise UserError(
            f"--cpus {processors} --gpus {gpus:g}: no machine has these and 4 GiB of memory; "
            f"together they have {total['CPU']:g} processors, {total['GPU']:g} GPUs "
            f"and {total['memory'] / 1024**3:.0f} GiB"
        )
    return {kind.lower(): n for kind, n in needed.items()}, fitting
