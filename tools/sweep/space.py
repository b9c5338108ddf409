"""What a sweep tries: the values that each `-S` names, and their combinations.

The syntax is that of `dvc exp run -S`, which is Hydra's, whose parser reads it here too:
https://hydra.cc/docs/advanced/override_grammar/extended/
"""

import itertools
import json
from argparse import Namespace
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep
from hydra.errors import HydraException
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler

from pipeline.common.shell import UserError, one_line
from tools.sweep.trial import Values, experiment

# The values that a key may take: as they are written after `-S KEY=`, or an interval of numbers.
Space = dict[str, Any]
# For each combination that is wanted, until the space counts as empty.
DRAWS = 20
TRIALS = 20  # Where no grid says how many.
FORMS = "KEY=VALUE, KEY=choice(A,B), KEY=range(FROM,TO,STEP), KEY=interval(FROM,TO)"

optuna.logging.set_verbosity(optuna.logging.ERROR)


def parse_space(overrides: list[str]) -> Space:
    """Return Optuna's distribution of each key that some `-S` name.

    Raises:
        UserError: one cannot be parsed, asks for something else than values, or names a key again.
    """
    space: Space = {}
    for text in overrides:
        try:
            override = OverridesParser.create().parse_override(text)
            key, value = override.key_or_group, override.value()
            if override.is_add() or override.is_delete():
                raise ValueError("adds or deletes a key")
            if key in space:
                raise ValueError("the key was named before")
            if isinstance(value, IntervalSweep):
                whole = isinstance(value.start, int) and isinstance(value.end, int)
                kind: Any = IntDistribution if whole else FloatDistribution
                space[key] = kind(value.start, value.end, log="log" in value.tags)
            elif override.is_sweep_override():
                choices = dict.fromkeys(override.sweep_string_iterator())
                space[key] = CategoricalDistribution([*choices])
            else:
                space[key] = CategoricalDistribution([override.get_value_element_as_str()])
        except (HydraException, ValueError) as error:
            reason = one_line(str(error).partition("\n")[0])
            raise UserError(f"-S {text}: {reason}; allowed are {FORMS}") from None
    return space


def plan(space: Space, options: Namespace) -> list[Values]:
    """Return the combinations to try, each of them once; none where an estimator chooses them.

    A grid's are in the order of `dvc exp run`: the last key changes fastest.
    """
    has_intervals = not all(isinstance(v, CategoricalDistribution) for v in space.values())
    search = options.search or ("tpe" if has_intervals else "grid")
    if search == "grid":
        if has_intervals:
            raise UserError("--search grid: an interval has no grid; allowed are random and tpe")
        combinations = itertools.product(*(values.choices for values in space.values()))
        return [dict(zip(space, each, strict=True)) for each in combinations][: options.trials]
    drawn: dict[str, Values] = {}
    if search == "random":
        count = options.trials or TRIALS
        study = optuna.create_study(sampler=RandomSampler(options.seed % 2**32))
        for _ in range(DRAWS * count):
            values = study.ask(space).params
            if len(drawn) < count:
                drawn.setdefault(experiment("", values), values)
    return [*drawn.values()]


@dataclass(frozen=True)
class Progress:
    """How far a sweep has come."""

    journal: Path  # What was tried: after each start and each end, a line with values and result.
    tried: dict[str, Values]  # What the sweep wants so far, by the name of its experiment.
    ended: dict[str, float]  # Results, of pruned trials too.
    left: int  # How many trials are to run.


def progress(
    journal: Path, sweep: str, planned: list[Values], known: dict[str, float], count: int
) -> Progress:
    """Return how far a sweep of some planned values, or else of a count, has come.

    What DVC's experiments have is known, with its metric; the journal tells of the rest.
    """
    tried, ended = {experiment(sweep, values): values for values in planned}, {**known}
    for row in journal.read_text(errors="replace").splitlines() if journal.exists() else ():
        # A full disk or a loss of power leaves half a line.
        with suppress(ValueError):
            values, result = json.loads(row)
            name = experiment(sweep, values)
            if not planned:
                tried[name] = values
            if result is not None:
                ended.setdefault(name, result)
    # Each planned one is in `tried`.
    left = max(0, count - sum(name in ended for name in tried))
    return Progress(journal, tried, ended, left)


def note(journal: Path, values: Values, result: float | None = None) -> None:
    """Write down that a trial has started, or the result that it ended with."""
    with journal.open("a") as file:
        # The line before may be half a line.
        file.write(f"\n{json.dumps([values, result])}")
