"""The search: which values come next, what came of the earlier ones, and which trial to give up.

Optuna's study keeps it in a file, so that the same command goes on where it was stopped.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from tools.sweep.space import SEEDS, Space, Values, as_overrides

FOLDER = Path(".dvc/tmp/sweeps")
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)

optuna.logging.set_verbosity(optuna.logging.WARNING)


def digest(*facts: Any) -> str:
    """Return six hexadecimal digits that stand for some facts."""
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:6]


def experiment(sweep: str, values: Values) -> str:
    """Return the name of the experiment that tries some values in a sweep."""
    return f"{sweep}-{digest(as_overrides(values))}"


class Search:
    """The trials of one sweep; each bears the name of its experiment."""

    def __init__(
        self,
        name: str,
        space: Space,
        planned: list[Values],
        count: int,
        seed: int,
        minimize: bool = False,
    ):
        """Open the study of this name, or begin it.

        Args:
            name: the same for the same commit, space and settings.
            space: what each key may be.
            planned: the combinations to try, where they are known before; empty lets the
                tree-structured Parzen estimator choose (Bergstra et al., NIPS 2011).
            count: how many trials the sweep has.
            seed: of the estimator.
            minimize: whether a low metric is the better one.
        """
        self.name, self.space, self.count, self.minimize = name, space, count, minimize
        self.live: dict[str, optuna.Trial] = {}
        self.epochs: dict[str, set[int]] = {}
        FOLDER.mkdir(parents=True, exist_ok=True)
        self.study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(FOLDER / f"{name}.log"))),
            study_name=name,
            load_if_exists=True,
            direction="minimize" if minimize else "maximize",
            pruner=optuna.pruners.MedianPruner(),
        )
        # With the seed of those drawn before, the next ones would be the same again.
        seed += len(self.study.get_trials(deepcopy=False))
        self.study.sampler = optuna.samplers.TPESampler(seed=seed % SEEDS, constant_liar=True)
        for trial in self.of(TrialState.RUNNING):
            self.study.tell(trial.number, state=TrialState.FAIL)
        known = [trial.params for trial in self.of(*FINISHED)]
        known += [trial.user_attrs["values"] for trial in self.of(TrialState.WAITING)]
        # What failed, or ran when the sweep was stopped, is tried again.
        for values in planned or [trial.params for trial in self.of(TrialState.FAIL)]:
            if values not in known:
                self.study.enqueue_trial(values, user_attrs={"values": values})
                known.append(values)
        self.left = max(0, count - len(self.of(*FINISHED)))

    def of(self, *states: TrialState) -> list[FrozenTrial]:
        """Return the trials that are in one of some states."""
        return self.study.get_trials(deepcopy=False, states=states)

    def start(self) -> str | None:
        """Return the name of the next trial; None where the sweep has had as many as it should."""
        while self.left:
            self.left -= 1
            trial = self.study.ask(self.space)
            name = experiment(self.name, trial.params)
            if name not in self.live:
                self.live[name] = trial
                return name
            # The estimator has chosen what runs already.
            self.study.tell(trial, state=TrialState.FAIL)
        return None

    def overrides(self, name: str) -> list[str]:
        """Return `KEY=VALUE` for each parameter of a trial."""
        return as_overrides(self.live[name].params)

    def should_prune(self, name: str, epoch: int, value: float) -> bool:
        """Take the metric after an epoch; say whether it is worse than the others' median then."""
        # A trial that is tried again tells of its first epochs again.
        if name not in self.live or epoch in self.epochs.setdefault(name, set()):
            return False
        self.epochs[name].add(epoch)
        self.live[name].report(value, epoch)
        return self.live[name].should_prune()

    def end(self, name: str, value: float | None, state: TrialState) -> None:
        """Record how a trial has ended."""
        self.study.tell(self.live.pop(name), value, state)

    def best(self, count: int) -> list[tuple[str, float, Values]]:
        """Return name, metric and values of the best trials, the best one first."""
        done = self.of(TrialState.COMPLETE)
        found = {experiment(self.name, trial.params): trial for trial in done}
        rows = [(name, trial.values[0], trial.params) for name, trial in found.items()]
        return sorted(rows, key=lambda row: row[1], reverse=not self.minimize)[:count]
