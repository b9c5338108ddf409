"""Trains a tiny recipe on one device of a CPU and on several; leaves its state after some steps.

    python -m tests.trained_together RECIPE FOLDER

On one device it does so in two ways, which compute the same and round otherwise: by the layers made
for CPUs or Keras's own, or with the images of a batch in another order.
"""

import sys
from pathlib import Path

import numpy as np

from stages import device  # First, since TensorFlow reads what it sets.
from stages.train import cluster
from stages.train.loop import train
from stages.train.recipes import assemble
from tests.unit.tiny_recipes import tiny

import keras  # isort: skip

STEPS = (1, 2, 5)
WAYS = ("alone", "another", "together")
# TensorFlow allows one number in a process.
DEVICES = {"airbench": 2, "tutorial": 4}
# One batch is an epoch. Each device would draw the same dropout for its part.
IMAGES = np.random.default_rng(1).random((12, 32, 32, 3), np.float32)
LABELS = (np.arange(12) % 10).astype(np.uint8)
ALL = {"batch_size": len(LABELS), "epochs": max(STEPS)}
# Every gradient is clipped, each weight decays.
CLIPPED = {"global_clipnorm": 0.5, "weight_decay": 0.01}
NO_DROPOUT = {"dropout": 0.0, "dense_dropout": 0.0}
RECIPES = {
    # Small images and the first layer's bias end together, so that there are two phases.
    "airbench": tiny(
        "airbench_small",
        ema_momentum=0.5,
        keep="best",
        augmentation={"noise": 0.0},
        network={"whitening_epochs": 2},
        **ALL,
    ),
    "tutorial": tiny("tutorial", optimizer=CLIPPED, network=NO_DROPOUT, **ALL),
}


def main() -> None:
    name, folder = sys.argv[1:]
    places = device.select("cpu", devices=DEVICES[name])
    for way in WAYS:
        order = slice(None, None, -1 if (name, way) == ("tutorial", "another") else 1)
        keras.utils.set_random_seed(0)
        with cluster.strategy_on(places if way == "together" else places[:1]).scope():
            training = assemble(
                RECIPES[name], IMAGES[order], LABELS[order], seed=0, on_cpu=way != "another"
            )
            # Too few for every device to have a part.
            for steps, row in enumerate(train(training, IMAGES[:1], LABELS[:1]), start=1):
                if steps in STEPS:
                    values = [variable.numpy() for variable in training.state]
                    losses = np.array([row["loss"], row["val_loss"]])
                    path = Path(folder, f"{way}{steps}.npz")
                    np.savez(path, *values, losses, allow_pickle=False)


if __name__ == "__main__":
    main()
