"""The shortest recipe, to which tests add what they are about, and how it is refused."""

from pathlib import Path
from typing import Any

import pytest

from stages.errors import InputError
from stages.train.params import read_recipe
from tests.project import write_params

# The least that a recipe says.
LEAST: dict[str, Any] = {
    "network": {"name": "tutorial"},
    "optimizer": {"name": "sgd"},
    "schedule": {"name": "constant"},
    "batch_size": 1,
    "epochs": 1,
}


def written(recipe: Any) -> None:
    """Write a params.yaml in which this recipe is on, into the current folder."""
    write_params(Path(), {"recipe": "x", "recipes": {"x": recipe}})


def refusal(recipe: Any) -> str:
    """Return the line by which a recipe is refused, from behind its own name on."""
    written(recipe)
    with pytest.raises(InputError) as caught:
        read_recipe()
    return str(caught.value).removeprefix("params.yaml: recipes.x")
