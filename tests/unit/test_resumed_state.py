"""A training of averages, killed and gone on with: every variable ends as if it had not been."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages import device  # First, since TensorFlow reads what it sets.
from stages.train import run as run_module
from stages.train.history import Row
from stages.train.recipes import Training
from stages.train.run import run
from tests.unit.eager import without_graphs as without_graphs
from tests.unit.tiny import Killed, images
from tests.unit.tiny_recipes import tiny

import keras  # isort: skip

FILES = ("models/model.keras", "metrics/train.json", "plots/history.csv")


def left() -> list[bytes]:
    """Return what a training leaves."""
    return [Path(name).read_bytes() for name in FILES]


@pytest.mark.usefixtures("without_graphs")
def test_a_killed_training_of_averages_ends_in_the_same_state(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the real network, dropout, optimizer and schedule: every variable is the same."""
    monkeypatch.setattr(device, "GPUS", [])
    made: list[Training] = []
    assemble = run_module.assemble

    def noted(*given: Any, **more: Any) -> Training:
        made.append(assemble(*given, **more))
        return made[-1]

    def killed(rows: list[Row], name: str) -> None:
        if len(rows) == 2:
            raise Killed

    monkeypatch.setattr(run_module, "assemble", noted)
    recipe = tiny(
        "tutorial",
        optimizer={"name": "adamw", "global_clipnorm": 1.0},
        schedule={"name": "cosine", "warmup_epochs": 1},
        augmentation={"flip": "random", "translation": 2, "cutout": 4, "brightness": 0.1},
        ema_momentum=0.5,
        hardest_share=0.5,
        keep="best",
        epochs=4,
        batch_size=5,
    )
    data = images(10, 0), images(20, 1)

    def trained() -> None:
        # Keras would number the names.
        keras.utils.clear_session()
        run("mine", recipe, 0, "auto", *data)

    trained()
    expected = left()
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "write_history", killed)
        with pytest.raises(Killed):
            trained()
    trained()
    assert left() == expected
    whole, _, resumed = made
    assert len(whole.state) == len(resumed.state)
    for one, other in zip(whole.state, resumed.state, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy(), err_msg=one.path)
    assert float(whole.optimizer.iterations) == 8
