"""Writes a .keras file whose bytes depend on nothing but the model."""

import io
import json
import zipfile
from pathlib import Path

import keras

from stages.files import replacing

# The earliest time that a zip archive can hold.
EPOCH = (1980, 1, 1, 0, 0, 0)
FLOAT32_BYTES = 4


def save_model(model: keras.Model, path: Path) -> None:
    """Save as `keras.Model.save` does, without the time of saving, which Keras records twice."""
    with replacing(path, FLOAT32_BYTES * model.count_params()) as unfinished:
        keras.saving.save_model(model, unfinished)
        recorded = io.BytesIO(unfinished.read_bytes())
        with zipfile.ZipFile(recorded) as source, zipfile.ZipFile(unfinished, "w") as target:
            for name in source.namelist():
                content = source.read(name)
                if name == "metadata.json":
                    metadata = json.loads(content)
                    del metadata["date_saved"]
                    content = json.dumps(metadata).encode()
                target.writestr(zipfile.ZipInfo(name, EPOCH), content)
