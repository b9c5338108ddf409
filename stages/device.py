"""Chooses the devices to work on, and how precisely they compute."""

from collections.abc import Iterator
from contextlib import contextmanager

from stages.errors import InputError
from stages.nvidia import why_unseen
from stages.params import Device, Devices, Precision
from stages.processors import multiply_bfloat16
from stages.start import GPUS  # Before TensorFlow, which reads what it sets.

import keras  # isort: skip
import tensorflow as tf  # isort: skip

# Compute capabilities: TensorFlow 2.21 has no kernels for older ones, and XLA ends the process on
# newer ones (tensorflow issue 111958).
OLDEST, NEWEST = (6, 0), (9, 0)
# From this one on, GPUs have units for bfloat16.
BFLOAT16 = (8, 0)


def select(
    device: Device, precision: Precision = "float32", devices: Devices = 1
) -> list[tf.DeviceSpec]:
    """Return the devices to work on, and let Keras compute in a precision, after saying which.

    Args:
        device: auto takes GPUs where there are such that TensorFlow can use.
        precision: auto takes bfloat16 where the device multiplies it natively.
        devices: how many GPUs, or into how many devices a CPU is divided.

    Raises:
        InputError: `gpu` is asked for and there is none, or more are asked for than there are.
    """
    tf.config.experimental.enable_op_determinism()
    if device == "cpu":
        return cpu(precision, devices)
    gpus = [gpu for gpu in GPUS if not unusable(gpu)]
    if not gpus:
        reason = unusable(GPUS[0]) if GPUS else why_unseen()
        if device == "auto":
            return cpu(precision, devices, f"; {reason}")
        raise InputError(f"params.yaml: device = 'gpu': {reason}; allowed here are auto and cpu")
    if devices and devices > len(gpus):
        raise InputError(f"params.yaml: devices = {devices}: allowed here are 1 to {len(gpus)}")
    gpus = gpus[:devices]
    tf.config.set_visible_devices(gpus, "GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    name, capability = details(gpus[0])
    taken = set_precision(precision, capability >= BFLOAT16)
    print(f"device: {counted(len(gpus), 'GPU')}, {name}, {taken}", flush=True)
    return [tf.DeviceSpec(device_type="GPU", device_index=n) for n in range(len(gpus))]


def cpu(precision: Precision, devices: Devices, reason: str = "") -> list[tf.DeviceSpec]:
    """Return the CPU, after saying so; TensorFlow takes no memory of a GPU then."""
    tf.config.set_visible_devices([], "GPU")
    count = devices or 1
    if count > 1:
        (processor,) = tf.config.list_physical_devices("CPU")
        parts = [tf.config.LogicalDeviceConfiguration()] * count
        tf.config.set_logical_device_configuration(processor, parts)
    taken = set_precision(precision, multiply_bfloat16())
    print(f"device: {counted(count, 'CPU')}, {taken}{reason}", flush=True)
    return [tf.DeviceSpec(device_type="CPU", device_index=n) for n in range(count)]


def counted(count: int, what: str) -> str:
    """Return how many there are of a kind of device, in words."""
    return what if count == 1 else f"{count} {what}s"


def set_precision(precision: Precision, is_bfloat16_fast: bool) -> str:
    """Let Keras's layers compute in a precision from now on, and return it."""
    if precision == "auto":
        precision = "bfloat16" if is_bfloat16_fast else "float32"
    policy = "mixed_bfloat16" if precision == "bfloat16" else "float32"
    keras.config.set_dtype_policy(policy)
    return precision


def named(place: tf.DeviceSpec) -> str:
    """Return a device's type and, of a GPU, its name."""
    if place.device_type != "GPU":
        return place.device_type
    name, _ = details(tf.config.get_visible_devices("GPU")[place.device_index])
    return f"GPU {name}"


def details(gpu: tf.config.PhysicalDevice) -> tuple[str, tuple[int, int]]:
    """Return what a GPU is called, and its compute capability."""
    found = tf.config.experimental.get_device_details(gpu)
    return found.get("device_name", "unnamed"), found.get("compute_capability", OLDEST)


def unusable(gpu: tf.config.PhysicalDevice) -> str | None:
    """Return why TensorFlow cannot use a GPU; None where it can."""
    name, capability = details(gpu)
    if OLDEST <= capability <= NEWEST:
        return None
    found, oldest, newest = (f"{major}.{minor}" for major, minor in (capability, OLDEST, NEWEST))
    return (
        f"{name} has compute capability {found}, "
        f"but TensorFlow {tf.__version__} works with {oldest} to {newest}"
    )


@contextmanager
def enough_memory(needing: str, smaller: str) -> Iterator[None]:
    """Explain where the body runs out of memory.

    Args:
        needing: what in params.yaml needs the memory.
        smaller: what would need less.

    Raises:
        InputError: TensorFlow, NumPy or Python found too little.
    """
    try:
        yield
    except (MemoryError, tf.errors.ResourceExhaustedError):
        raise InputError(
            f"params.yaml: {needing} needs more memory than there is; {smaller} needs less"
        ) from None
