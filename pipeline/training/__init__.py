"""What stages/train.py puts together."""

# Starts TensorFlow quietly, before anything else here imports it.
from pipeline.common import device as device
