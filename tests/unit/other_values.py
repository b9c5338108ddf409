"""Every key of a recipe, and another value for each."""

from collections.abc import Iterator
from typing import Any, get_args

from stages.params import Section
from stages.train.params import Recipe

# Where the next number is not allowed.
DEPTHS = {8: 14, 20: 26}
NAMES = {
    kind: [
        get_args(part.model_fields["name"].annotation)[0]
        for part in get_args(Recipe.model_fields[kind].annotation)
    ]
    for kind in ("network", "optimizer", "schedule")
}


def keys_of(recipe: Recipe) -> Iterator[str]:
    """Yield every key of a recipe and of its parts, dotted."""
    for key, value in recipe:
        if isinstance(value, Section):
            yield from (f"{key}.{name}" for name in type(value).model_fields)
        else:
            yield key


def with_another(recipe: Recipe, key: str) -> Recipe:
    """Return the recipe with another value at a dotted key, checked."""
    content = recipe.model_dump()
    kind, _, name = key.rpartition(".")
    section, place = (getattr(recipe, kind), content[kind]) if kind else (recipe, content)
    value = place[name]
    if name == "name":
        choices = NAMES[kind]
    else:
        allowed = get_args(type(section).model_fields[name].annotation)
        choices = [choice for choice in allowed if isinstance(choice, str)]
    if choices:
        place[name] = choices[(choices.index(value) + 1) % len(choices)]
    else:
        place[name] = DEPTHS[value] if name == "depth" else another(value)
    return Recipe.model_validate(content)


def another(value: Any) -> Any:
    """Return another value of the same type; a number where there is none."""
    if isinstance(value, list):
        # Where numbers have to rise, so that they still do: shares get smaller, counts greater.
        if isinstance(value[0], float):
            return [another(value[0]), *value[1:]]
        return [*value[:-1], another(value[-1])]
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int) else (value or 0) / 2 or 0.5
