"""What the trained weights depend on besides parameters, data and code: versions and processor."""

import platform
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_info

from stages import start  # Before TensorFlow, which reads what it sets.
from stages.processors import INSTRUCTION_SETS

import keras  # isort: skip
import tensorflow as tf  # isort: skip

CPUINFO = Path("/proc/cpuinfo")
# As x86 names them.
MODEL_FIELDS = ("vendor_id", "cpu family", "model", "stepping", "model name")
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


def environment(device: str) -> dict[str, object]:
    """Return the facts by name, for metrics/train.json and for a checkpoint's fingerprint.

    Seen to change the weights: the number of threads, the instruction sets, the kernels that
    NumPy's BLAS chooses for the processor or by OPENBLAS_CORETYPE (they whiten and shrink images),
    and caches whose size a virtual machine hides.
    """
    return {
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "device": device,
        "precision": keras.config.dtype_policy().compute_dtype,
        "machine": platform.machine(),
        "processor": processor(),
        "caches": caches(),
        "instruction_sets": " ".join(INSTRUCTION_SETS),
        "blas": blas_kernels(),
        "threads": start.THREADS,
    }


def processor() -> str:
    """Return maker, family, model, stepping and name, or what Python knows where Linux has none."""
    if not CPUINFO.exists():
        return platform.processor()
    lines = CPUINFO.read_text().partition("\n\n")[0].splitlines()
    fields = {name.strip(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    return " ".join(fields[name] for name in MODEL_FIELDS if name in fields)


def caches() -> str:
    """Return the sizes of the first core's caches, as Linux lists them; empty elsewhere."""
    return " ".join(path.read_text().strip() for path in sorted(CACHES.glob("index*/size")))


def blas_kernels() -> str:
    """Return the libraries of linear algebra under NumPy and SciPy, and whose kernels they use."""
    found = {
        f"{library['internal_api']} {library['version']} {library.get('architecture', '')}".strip()
        for library in threadpool_info()
        if library["user_api"] == "blas"
    }
    return ", ".join(sorted(found))
