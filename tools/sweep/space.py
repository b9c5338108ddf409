"""What a sweep tries: the values that each `-S` names, and their combinations.

The syntax is that of `dvc exp run -S`, which is Hydra's, whose parser reads it here too:
https://hydra.cc/docs/advanced/override_grammar/extended/
"""

import itertools

import optuna
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.errors import HydraException
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from stages.errors import InputError, in_one_line

# The values that a key may take: as they are written after `-S KEY=`, or an interval of numbers.
Space = dict[str, BaseDistribution]
# One value for each key.
Values = dict[str, object]
# Of NumPy, by which Optuna draws.
SEEDS = 2**32
# For each combination that is wanted, until the space counts as empty.
DRAWS = 20
FORMS = "KEY=VALUE, KEY=choice(A,B), KEY=range(FROM,TO,STEP), KEY=interval(FROM,TO)"


def parse(overrides: list[str]) -> Space:
    """Return the space that some `-S` span.

    Raises:
        InputError: one cannot be parsed, asks for something else than values, or names a key again.
    """
    parser = OverridesParser.create()
    space: Space = {}
    for text in overrides:
        try:
            override = parser.parse_override(text)
            distribution = values_of(override)
        except (HydraException, ValueError) as error:
            reason = in_one_line(str(error).partition("\n")[0])
            raise InputError(f"-S {text}: {reason}; allowed are {FORMS}") from None
        if override.key_or_group in space:
            raise InputError(f"-S {text}: the key was named before; allowed is once")
        space[override.key_or_group] = distribution
    return space


def values_of(override: Override) -> BaseDistribution:
    """Return the values that one override names.

    Raises:
        ValueError: it adds or deletes a key, or its interval is empty.
    """
    if override.is_add() or override.is_delete():
        raise ValueError("adds or deletes a key")
    value = override.value()
    if isinstance(value, IntervalSweep):
        log = "log" in value.tags
        if isinstance(value.start, int) and isinstance(value.end, int):
            return IntDistribution(value.start, value.end, log=log)
        return FloatDistribution(float(value.start or 0), float(value.end or 0), log=log)
    if override.is_sweep_override():
        return CategoricalDistribution([*dict.fromkeys(override.sweep_string_iterator())])
    return CategoricalDistribution([override.get_value_element_as_str()])


def has_intervals(space: Space) -> bool:
    """Say whether a key may take any number of an interval, so that no grid holds all."""
    return any(not isinstance(values, CategoricalDistribution) for values in space.values())


def grid(space: Space) -> list[Values]:
    """Return all combinations in the order of `dvc exp run`: the last key changes fastest.

    Raises:
        InputError: a key may take any number of an interval.
    """
    choices = []
    for key, values in space.items():
        if not isinstance(values, CategoricalDistribution):
            raise InputError(f"-S {key}: an interval has no grid; allowed are --search random, tpe")
        choices.append(values.choices)
    return [dict(zip(space, values, strict=True)) for values in itertools.product(*choices)]


def random(space: Space, count: int, seed: int) -> list[Values]:
    """Return combinations drawn at random, the same ones for the same seed, and each once.

    Args:
        space: to draw from.
        count: how many; there are fewer where the space has fewer.
        seed: 0 to SEEDS - 1.
    """
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed))
    drawn: dict[tuple[str, ...], Values] = {}
    for _ in range(DRAWS * count):
        values = study.ask(space).params
        drawn.setdefault(tuple(as_overrides(values)), values)
        if len(drawn) == count:
            break
    return [*drawn.values()]


def written(value: object) -> str:
    """Return a value as it is written in params.yaml: of a drawn number, four digits say enough."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def as_overrides(values: Values) -> list[str]:
    """Return `KEY=VALUE` for each key, as `dvc exp run -S` takes it."""
    return [f"{key}={written(value)}" for key, value in values.items()]
