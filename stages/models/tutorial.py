"""The network of the 2018 Keras tutorial, to the letter."""

import keras
from keras import layers


def build(filters: int, dense_units: int, dropout: float, dense_dropout: float) -> keras.Model:
    """Return the network: images, float32 (n, 32, 32, 3) in [0, 1], to probabilities (n, 10).

    With the tutorial's 64 filters and 512 units it has 2,180,746 parameters. The ReLU stands on
    both sides of Batch_norm03 there too.
    """
    return keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.Conv2D(filters, 3, padding="same", activation="relu", name="input_Layer"),
            layers.BatchNormalization(name="Batch_norm00"),
            layers.Dropout(dropout, name="Drop00"),
            layers.Conv2D(filters, 3, padding="same", activation="relu", name="Conv2D01"),
            layers.BatchNormalization(name="Batch_norm01"),
            layers.MaxPooling2D(2),
            layers.Dropout(dropout, name="Drop01"),
            layers.Conv2D(filters, 3, padding="same", activation="relu", name="Conv2D02"),
            layers.BatchNormalization(name="Batch_norm02"),
            layers.MaxPooling2D(2),
            layers.Dropout(dropout, name="Drop02"),
            layers.Flatten(name="Flatten00"),
            layers.Dense(dense_units, activation="relu", use_bias=False, name="Dense00"),
            layers.BatchNormalization(name="Batch_norm03"),
            layers.ReLU(),
            layers.Dropout(dense_dropout, name="DropOut03"),
            layers.Dense(10, activation="softmax", name="Dense01"),
        ],
        name="tutorial",
    )
