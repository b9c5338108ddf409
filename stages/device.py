"""Sets up TensorFlow and Keras: threads, determinism, and the device to work on.

To be imported before anything else that imports them.
"""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits

from stages import settings as settings  # Before TensorFlow, which reads what it sets.
from stages.errors import InputError
from stages.params import Device
from stages.processors import usable

# Errors only.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

THREADS = usable()


@contextmanager
def quiet_start() -> Iterator[None]:
    """Keep TensorFlow's messages off standard error, unless TF_CPP_MIN_LOG_LEVEL asks for all.

    While it starts, TensorFlow heeds no log level (tensorflow issue 100442).
    """
    if os.environ["TF_CPP_MIN_LOG_LEVEL"] == "0":
        yield
        return
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


# What the libraries make stays to the end. Collections that look at it again and again take 0.4 s
# of their start, and 0.2 s now and then afterwards.
gc.disable()
with quiet_start():
    import keras as keras
    import tensorflow as tf

    GPUS = tf.config.list_physical_devices("GPU")
gc.freeze()
gc.enable()

tf.config.threading.set_intra_op_parallelism_threads(THREADS)
tf.config.threading.set_inter_op_parallelism_threads(THREADS)
threadpool_limits(THREADS, "blas")


def select(device: Device) -> tf.DeviceSpec:
    """Return the device to work on, after saying on one line which it is.

    Args:
        device: auto takes a GPU where TensorFlow sees one.

    Raises:
        InputError: `gpu` is asked for and there is none.
    """
    tf.config.experimental.enable_op_determinism()
    if device == "gpu" and not GPUS:
        raise InputError(
            "params.yaml: device = 'gpu': TensorFlow sees no GPU; allowed here are auto and cpu; "
            "`pip install -e '.[gpu]'` installs what a GPU needs, TF_CPP_MIN_LOG_LEVEL=0 shows more"
        )
    if device == "cpu" or not GPUS:
        print("device: CPU" + (", no GPU is seen" if device == "auto" else ""), flush=True)
        return tf.DeviceSpec(device_type="CPU", device_index=0)
    tf.config.experimental.set_memory_growth(GPUS[0], True)
    name = tf.config.experimental.get_device_details(GPUS[0]).get("device_name", "unnamed")
    print(f"device: GPU, {name}", flush=True)
    return tf.DeviceSpec(device_type="GPU", device_index=0)
