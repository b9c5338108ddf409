"""The machine: starts TensorFlow quietly, chooses the device, and records what results depend on.

Whatever imports TensorFlow or Keras imports this first.
"""

import gc
import os
import platform
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from joblib import cpu_count
from threadpoolctl import threadpool_info, threadpool_limits

from pipeline.common.config import Device, Precision
from pipeline.common.nvidia import why_unseen
from pipeline.common.shell import UserError


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


# What the libraries make stays to the end; looking through it again and again takes 0.7 s.
gc.disable()
# Keras imports these where it finds them, for functions that are not used here.
hidden = {"matplotlib", "pandas", "sklearn"} - sys.modules.keys()
# What an import takes as "not there".
sys.modules |= dict.fromkeys(hidden)  # type: ignore[arg-type]
with quiet_start():
    import keras
    import tensorflow as tf

    GPUS = tf.config.list_physical_devices("GPU")
for module in hidden:
    del sys.modules[module]
gc.freeze()
gc.enable()
if os.environ["TF_CPP_MIN_LOG_LEVEL"] != "0":
    # Also of what is written in Python, which heeds no variable.
    tf.get_logger().setLevel("ERROR")

# By affinity and by the quota of a container. TensorFlow itself takes every processor.
THREADS = cpu_count()
tf.config.threading.set_intra_op_parallelism_threads(THREADS)
tf.config.threading.set_inter_op_parallelism_threads(THREADS)
threadpool_limits(THREADS, "blas")

# Compute capabilities: TensorFlow 2.21 has no kernels for older ones, and XLA ends the process on
# newer ones (tensorflow issue 111958). Those in BFLOAT16 and above have units for bfloat16.
OLDEST, NEWEST = (6, 0), (9, 0)
BFLOAT16 = (8, 0)

CPUINFO = Path("/proc/cpuinfo")
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
# By NumPy's names.
INSTRUCTION_SETS: list[str] = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])


def use(device: Device, precision: Precision = "float32") -> tf.DeviceSpec:
    """Choose the device, set Keras's precision, and print both.

    Args:
        device: auto takes the first GPU that TensorFlow can use, where there is one.
        precision: auto takes bfloat16 where the device multiplies it natively.

    Raises:
        UserError: `gpu` is asked for and there is none.
    """
    tf.config.experimental.enable_op_determinism()
    gpu = next((gpu for gpu in GPUS if not why_unusable(gpu)), None) if device != "cpu" else None
    because = ""
    if device != "cpu" and not gpu:
        reason = why_unusable(GPUS[0]) if GPUS else why_unseen()
        if device == "gpu":
            raise UserError(f"params.yaml: device = 'gpu': {reason}; allowed here are auto and cpu")
        because = f"; {reason}"
    # TensorFlow takes memory of every GPU that it sees.
    tf.config.set_visible_devices([gpu] if gpu else [], "GPU")
    if gpu:
        tf.config.experimental.set_memory_growth(gpu, True)
    if precision == "auto":
        has_bfloat16 = capability(gpu) >= BFLOAT16 if gpu else cpu_multiplies_bfloat16()
        precision = "bfloat16" if has_bfloat16 else "float32"
    keras.config.set_dtype_policy("mixed_bfloat16" if precision == "bfloat16" else "float32")
    where = f"GPU, {gpu_name(gpu)}" if gpu else "CPU"
    print(f"device: {where}, {precision}{because}", flush=True)
    return tf.DeviceSpec(device_type="GPU" if gpu else "CPU", device_index=0)


def why_unusable(gpu: tf.config.PhysicalDevice) -> str | None:
    """Return why TensorFlow cannot use a GPU; None where it can."""
    if OLDEST <= capability(gpu) <= NEWEST:
        return None
    found, oldest, newest = (f"{a}.{b}" for a, b in (capability(gpu), OLDEST, NEWEST))
    return (
        f"{gpu_name(gpu)} has compute capability {found}, "
        f"but TensorFlow {tf.__version__} works with {oldest} to {newest}"
    )


def gpu_name(gpu: tf.config.PhysicalDevice) -> str:
    return tf.config.experimental.get_device_details(gpu).get("device_name", "unnamed")


def capability(gpu: tf.config.PhysicalDevice) -> tuple[int, int]:
    return tf.config.experimental.get_device_details(gpu).get("compute_capability", OLDEST)


def cpuinfo(field: str) -> str:
    """Return what Linux tells of the first processor; elsewhere nothing."""
    text = CPUINFO.read_text(errors="replace") if CPUINFO.exists() else ""
    found = re.search(rf"^{field}\s*:(.*)$", text, re.MULTILINE)
    return found[1].strip() if found else ""


def cpu_multiplies_bfloat16() -> bool:
    """Return whether the processor has instructions for bfloat16; known of x86 under Linux only."""
    return bool({"avx512_bf16", "amx_bf16"} & {*cpuinfo("flags").split()})


@contextmanager
def enough_memory(needing: str, smaller: str) -> Iterator[None]:
    """Explain where the body runs out of memory.

    Args:
        needing: what in params.yaml needs the memory.
        smaller: what would need less.

    Raises:
        UserError: TensorFlow, NumPy or Python found too little.
    """
    try:
        yield
    except (MemoryError, tf.errors.ResourceExhaustedError):
        raise UserError(
            f"params.yaml: {needing} needs more memory than there is; {smaller} needs less"
        ) from None


def provenance() -> dict[str, object]:
    """Return what trained weights depend on besides parameters, data and code.

    Seen to change the weights: the number of threads, the instruction sets, the kernels that
    NumPy's BLAS chooses for the processor or by OPENBLAS_CORETYPE (they whiten and shrink images),
    and caches whose size a virtual machine hides.
    """
    gpus = tf.config.get_visible_devices("GPU")
    x86 = map(cpuinfo, ("vendor_id", "cpu family", "model", "stepping", "model name"))
    blas = {
        f"{library['internal_api']} {library['version']} {library.get('architecture', '')}".strip()
        for library in threadpool_info()
        if library["user_api"] == "blas"
    }
    return {
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "device": f"GPU {gpu_name(gpus[0])}" if gpus else "CPU",
        "precision": keras.config.dtype_policy().compute_dtype,
        "machine": platform.machine(),
        "processor": " ".join(filter(None, x86)) or platform.processor(),
        "caches": " ".join(p.read_text().strip() for p in sorted(CACHES.glob("index*/size"))),
        "instruction_sets": " ".join(INSTRUCTION_SETS),
        "blas": ", ".join(sorted(blas)),
        "threads": THREADS,
    }
