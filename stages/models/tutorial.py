"""The network of the 2018 Keras tutorial, to the letter by default, and what it may become."""

from typing import TYPE_CHECKING, Annotated, Literal, Self

import numpy as np
from pydantic import AfterValidator, Field

from stages.models.network import Network, fewer
from stages.params import Count, Share, increasing

if TYPE_CHECKING:
    import keras

# Each halves height and width: the fifth one leaves a single pixel.
MOST_POOLINGS = 5


class Tutorial(Network):
    name: Literal["tutorial"]
    filters: list[Count] = Field(default=[64, 64, 64], min_length=1, max_length=100)
    kernel_size: Annotated[int, Field(ge=1, le=32)] = 3
    activation: Literal["relu", "elu", "gelu", "silu", "tanh"] = "relu"
    batch_norm: bool = True
    pool_after: Annotated[list[Count], AfterValidator(increasing)] = Field(
        default=[2, 3], max_length=MOST_POOLINGS
    )
    dropout: Share = 0.25
    dense_units: Count = 512
    dense_dropout: Share = 0.5

    def narrowed(self, width: float) -> Self:
        """Return the network with fewer filters and dense units."""
        (dense_units,) = fewer([self.dense_units], width)
        return self.model_copy(
            update={"filters": fewer(self.filters, width), "dense_units": dense_units}
        )

    def build(
        self, images: np.ndarray, generator: np.random.Generator, on_cpu: bool
    ) -> "keras.Model":
        """Return the network; by default it has the tutorial's 2,180,746 parameters.

        The activation stands on both sides of the last batch normalization there too.
        """
        import keras
        from keras import layers

        from stages.models.compiled_max_pooling import CompiledMaxPooling2D

        pooling_layer = layers.MaxPooling2D if on_cpu else CompiledMaxPooling2D
        network = keras.Sequential([keras.Input((32, 32, 3))], name="tutorial")
        for index, filters in enumerate(self.filters):
            network.add(
                layers.Conv2D(
                    filters,
                    self.kernel_size,
                    padding="same",
                    activation=self.activation,
                    name=f"Conv2D{index:02}" if index else "input_Layer",
                )
            )
            if self.batch_norm:
                network.add(
                    layers.BatchNormalization(name=f"Batch_norm{index:02}", dtype="float32")
                )
            if index + 1 in self.pool_after:
                network.add(pooling_layer(2))
            network.add(layers.Dropout(self.dropout, name=f"Drop{index:02}"))
        last = f"{len(self.filters):02}"
        network.add(layers.Flatten(name="Flatten00"))
        network.add(
            layers.Dense(
                self.dense_units, activation=self.activation, use_bias=False, name="Dense00"
            )
        )
        if self.batch_norm:
            network.add(layers.BatchNormalization(name=f"Batch_norm{last}", dtype="float32"))
        # The tutorial's own layer, which is stored under another name than Activation("relu").
        relu = self.activation == "relu"
        network.add(layers.ReLU() if relu else layers.Activation(self.activation))
        network.add(layers.Dropout(self.dense_dropout, name=f"DropOut{last}"))
        network.add(layers.Dense(10, activation="softmax", name="Dense01", dtype="float32"))
        return network
