"""Print the JSON schema of params.yaml, by which editors complete and check it.

    python -m tools schema > params.schema.json

It says what the stages check, by the same types, but for what depends on the data and the machine.
"""

import json
from typing import Annotated, Any

from pydantic import Field

from stages.errors import exit_with_message
from stages.evaluate.params import EvaluateParams
from stages.fetch.params import FetchParams
from stages.params import Device, Section
from stages.plots.params import PlotsParams
from stages.preprocess.params import PreprocessParams
from stages.train.params import Recipe, Seed


class Document(Section):
    """Every knob of the pipeline."""

    seed: Seed
    device: Device
    recipe: str
    recipes: dict[str, Annotated[Recipe, Field(discriminator="model")]]
    fetch: FetchParams
    preprocess: PreprocessParams
    evaluate: EvaluateParams
    plots: PlotsParams


def schema() -> dict[str, Any]:
    """Return the schema, in draft 7, which editors know best."""
    return {"$schema": "http://json-schema.org/draft-07/schema#"} | Document.model_json_schema()


def main() -> None:
    """Print the schema."""
    print(json.dumps(schema(), indent=2))


if __name__ == "__main__":
    exit_with_message(main)
