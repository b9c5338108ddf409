"""Print the JSON schema of params.yaml, by which editors complete and check it.

    python -m tools schema > params.schema.json

It says what the stages check, by the same types, but for what depends on the data, on the machine
or on several values at once.
"""

import argparse
import json
from typing import Any

from stages.errors import exit_with_message
from stages.evaluate.params import EvaluateParams
from stages.fetch.params import FetchParams
from stages.params import Device, Devices, Precision, Section
from stages.plots.params import PlotsParams
from stages.preprocess.params import PreprocessParams
from stages.train.params import KINDS, Recipe, Seed, keys_of_others, parts_of


class Document(Section):
    """Every parameter of the pipeline."""

    seed: Seed
    device: Device
    devices: Devices
    precision: Precision
    recipe: str
    recipes: dict[str, Recipe]
    fetch: FetchParams
    preprocess: PreprocessParams
    evaluate: EvaluateParams
    plots: PlotsParams


def schema() -> dict[str, Any]:
    """Return the schema, in draft 7, which editors know best.

    A part may hold what only others of its kind know, by a pattern, which editors do not complete.
    """
    content = Document.model_json_schema()
    for kind in KINDS:
        for name, part in parts_of(kind).items():
            others = "|".join(keys_of_others(kind, name))
            content["$defs"][part.__name__]["patternProperties"] = {f"^({others})$": True}
    return {"$schema": "http://json-schema.org/draft-07/schema#"} | content


def main() -> None:
    """Print the schema."""
    argparse.ArgumentParser(prog="python -m tools schema", description=__doc__).parse_args()
    print(json.dumps(schema(), indent=2))


if __name__ == "__main__":
    exit_with_message(main)
