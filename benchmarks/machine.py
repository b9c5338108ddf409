"""Names what a measurement was taken on."""

import platform
from importlib.metadata import version
from pathlib import Path

from stages.processors import multiply_bfloat16, usable


def precisions() -> list[str]:
    """Return what is worth measuring: bfloat16 where the processor multiplies it."""
    return ["float32", "bfloat16"] if multiply_bfloat16() else ["float32"]


def describe() -> str:
    """Return the processor's name, the cores that may be used, and versions."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.split(": ")[1] for line in lines if line.startswith("model name")]
    vectors = [
        v
        for v in ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
        if any(f" {v} " in line for line in lines)
    ]
    return (
        f"{(names or [platform.machine()])[0]} ({', '.join(vectors)}), "
        f"{usable()} cores; Python {platform.python_version()}, "
        f"TensorFlow {version('tensorflow')}, Keras {version('keras')}"
    )
