"""Layers that compute what Keras's own do, only faster; a trained network is saved with those."""

# It starts TensorFlow quietly, so it comes before the layers, which import TensorFlow.
from pipeline.common import device as device
