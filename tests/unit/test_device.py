"""The device that works, how precisely, and what is recorded of the machine."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.common import device
from pipeline.common.shell import UserError

import keras
import tensorflow as tf

# What TensorFlow says of each GPU.
DETAILS: dict[str, dict[str, Any]] = {
    "first": {"device_name": "NVIDIA first", "compute_capability": (8, 0)},
    "second": {"device_name": "NVIDIA second", "compute_capability": (7, 5)},
    "nameless": {},
    "newest": {"device_name": "H100", "compute_capability": (9, 0)},
    "too old": {"device_name": "M40", "compute_capability": (5, 2)},
    "too new": {"device_name": "RTX 5090", "compute_capability": (12, 0)},
}


@pytest.fixture
def visible(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the GPUs of which TensorFlow may take memory; there is none yet."""
    visible: list[str] = []
    monkeypatch.setattr(device, "GPUS", [])
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda gpus, _: visible.extend(gpus))
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda _: visible)
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", lambda *_: None)
    monkeypatch.setattr(tf.config.experimental, "get_device_details", DETAILS.get)
    return visible


@pytest.mark.parametrize(
    ("gpus", "wanted", "says"),
    [
        ([], ("cpu", "auto"), "CPU, float32"),
        ([], ("auto", "auto"), "CPU, float32; no GPU is seen"),
        (["first", "second"], ("auto", "auto"), "GPU, NVIDIA first, bfloat16"),
        (["first", "second"], ("gpu", "float32"), "GPU, NVIDIA first, float32"),
        (["second", "first"], ("gpu", "bfloat16"), "GPU, NVIDIA second, bfloat16"),
        (["nameless"], ("auto", "auto"), "GPU, unnamed, float32"),
        (["too old", "newest", "first"], ("auto", "auto"), "GPU, H100, bfloat16"),
        (["too new"], ("auto", "auto"), "CPU, float32; RTX 5090 has compute capability 12.0, but"),
    ],
)
def test_the_device_is_chosen_and_told(
    visible: list[str], capsys: pytest.CaptureFixture[str], gpus: list[str], wanted: Any, says: str
) -> None:
    """The first that can be used; of a GPU that is not used, TensorFlow takes no memory."""
    device.GPUS += gpus
    spec = device.use(*wanted)
    assert capsys.readouterr().out.startswith(f"device: {says}")
    kind = says[:3]
    assert (spec.device_type, spec.device_index) == (kind, 0)
    assert len(visible) == (kind == "GPU")
    assert says.replace("GPU,", "GPU").startswith(f"{device.provenance()['device']}, ")
    policy = "mixed_bfloat16" if "bfloat16" in says else "float32"
    assert keras.config.dtype_policy().name == policy


@pytest.mark.parametrize(("gpus", "why"), [([], "no GPU is seen"), (["too old"], "M40 has")])
def test_a_gpu_that_is_not_there_is_refused(visible: list[str], gpus: list[str], why: str) -> None:
    device.GPUS += gpus
    with pytest.raises(UserError, match=f"device = 'gpu': {why}"):
        device.use("gpu")


@pytest.mark.parametrize("flags", ["fpu avx512f avx512_bf16", "amx_bf16", "avx512f xamx_bf16x"])
def test_processors_that_multiply_bfloat16(flags: str) -> None:
    assert not device.cpu_multiplies_bfloat16()
    device.CPUINFO.write_text(f"model name\t: X\nflags\t\t: {flags}\nbugs\t\t: bf\n")
    device.use("cpu", "auto")
    assert (keras.config.dtype_policy().compute_dtype == "float32") == ("xamx" in flags)


def test_facts_that_change_the_weights_are_recorded(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = device.provenance()
    assert "openblas" in str(before["blas"])
    libraries = {"tensorflow": tf, "keras": keras, "numpy": np}
    for name, library in libraries.items():
        monkeypatch.setattr(library, "__version__", name)
    device.CPUINFO.write_text("vendor_id\t: Maker\nmodel name\t: A: 9\n\nvendor_id\t: B\n")
    for number, size in enumerate(("32K", "8M")):
        Path(f"index{number}").mkdir()
        Path(f"index{number}/size").write_text(f"{size}\n")
    monkeypatch.setattr(device, "CACHES", folder)
    monkeypatch.setattr(device, "INSTRUCTION_SETS", ["AVX8", "AVX9"])
    monkeypatch.setattr(device, "THREADS", 99)
    after = before | {name: name for name in libraries}
    after |= {"processor": "Maker A: 9", "caches": "32K 8M", "instruction_sets": "AVX8 AVX9"}
    assert device.provenance() == after | {"threads": 99}


@pytest.mark.parametrize("error", [MemoryError(), tf.errors.ResourceExhaustedError(None, None, "")])
def test_too_little_memory_is_told(error: Exception) -> None:
    told = pytest.raises(UserError, match="the recipe needs more memory.*a smaller one needs less")
    with told, device.enough_memory("the recipe", "a smaller one"):
        raise error
