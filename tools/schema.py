"""Print the JSON schema of params.yaml, by which editors complete and check it.

`python -m tools.schema > params.schema.json` renews the file. It says what the stages check, by the
same types, but for what depends on the data, on the machine or on several values at once.
"""

import argparse
import json
from typing import Any

from pipeline.common.config import CHOICES, Params, part_classes
from pipeline.common.shell import run


def schema() -> dict[str, Any]:
    """Return the schema, in draft 7, which editors know best.

    A part may hold what only others of its kind know, by a pattern, which editors do not complete.
    """
    content = without_prose(Params.model_json_schema())
    for kind in CHOICES:
        classes = part_classes(kind).values()
        known = dict.fromkeys(key for part in classes for key in part.model_fields)
        for part in classes:
            others = "|".join(key for key in known if key not in part.model_fields)
            if others:
                content["$defs"][part.__name__]["patternProperties"] = {f"^({others})$": True}
    return {"$schema": "http://json-schema.org/draft-07/schema#"} | content


def without_prose(node: Any) -> Any:
    """Return a part of the schema without titles, which repeat the keys, and docstrings."""
    if isinstance(node, dict):
        prose = [key for key in ("title", "description") if isinstance(node.get(key), str)]
        return {key: without_prose(value) for key, value in node.items() if key not in prose}
    return [without_prose(value) for value in node] if isinstance(node, list) else node


def main() -> None:
    argparse.ArgumentParser(prog="python -m tools.schema", description=__doc__).parse_args()
    print(json.dumps(schema()))


if __name__ == "__main__":
    run(main)
