"""What the weights depend on besides parameters, data and code, as metrics/train.json tells it."""

import importlib.metadata
import os
import platform
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stages import start  # First, since TensorFlow reads what it sets.
from stages.train import environment

import keras  # isort: skip
import tensorflow as tf  # isort: skip

CPUINFO = """\
processor\t: 0
model name\t: Maker(R) A: 9
flags\t\t: x y
stepping\t: 4
vendor_id\t: Maker
cpu family\t: 6
model\t\t: 85

processor\t: 1
vendor_id\t: Other
model name\t: B
"""
LIBRARIES = [
    {"user_api": "blas", "internal_api": "openblas", "version": "0.3", "architecture": "Zen"},
    {"user_api": "openmp", "internal_api": "openmp", "version": None},
    {"user_api": "blas", "internal_api": "mkl", "version": "2025.0"},
    {"user_api": "blas", "internal_api": "openblas", "version": "0.3", "architecture": "Zen"},
]

FACTS: dict[str, Callable[[pytest.MonkeyPatch, Path], None]] = {
    "tensorflow": lambda patch, _: patch.setattr(tf, "__version__", "9"),
    "keras": lambda patch, _: patch.setattr(keras, "__version__", "9"),
    "numpy": lambda patch, _: patch.setattr(np, "__version__", "9"),
    "machine": lambda patch, _: patch.setattr(platform, "machine", lambda: "riscv64"),
    "processor": lambda patch, folder: patch.setattr(environment, "CPUINFO", folder / "cpuinfo"),
    "caches": lambda patch, folder: patch.setattr(environment, "CACHES", folder),
    "blas": lambda patch, _: patch.setattr(environment, "threadpool_info", lambda: []),
    "instruction_sets": lambda patch, _: patch.setattr(environment, "INSTRUCTION_SETS", ["AVX9"]),
    "threads": lambda patch, _: patch.setattr(start, "THREADS", 99),
}


@pytest.mark.parametrize("fact", FACTS)
def test_facts_are_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fact: str) -> None:
    before = environment.environment("CPU")
    assert all(before.values())
    text = "vendor_id\t: Maker\nmodel\t\t: 7\nmodel name\t: A 9\nflags\t\t: x y\n\nvendor_id\t: B\n"
    (tmp_path / "cpuinfo").write_text(text)
    FACTS[fact](monkeypatch, tmp_path)
    after = environment.environment("CPU")
    assert {name for name in before if before[name] != after[name]} == {fact}
    if fact == "processor":
        assert after["processor"] == "Maker 7 A 9"


def test_facts_have_names_and_an_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpuinfo").write_text("vendor_id : Maker\n")
    (tmp_path / "index0").mkdir()
    (tmp_path / "index0/size").write_text("32K\n")
    monkeypatch.setattr(environment, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(environment, "CACHES", tmp_path)
    monkeypatch.setattr(environment, "threadpool_info", lambda: LIBRARIES[:1])
    monkeypatch.setattr(environment, "INSTRUCTION_SETS", ["SSE9", "AVX9"])
    monkeypatch.setattr(start, "THREADS", 3)
    assert [*environment.environment("GPU").items()] == [
        ("tensorflow", importlib.metadata.version("tensorflow")),
        ("keras", importlib.metadata.version("keras")),
        ("numpy", importlib.metadata.version("numpy")),
        ("device", "GPU"),
        ("precision", "float32"),
        ("machine", os.uname().machine),
        ("processor", "Maker"),
        ("caches", "32K"),
        ("instruction_sets", "SSE9 AVX9"),
        ("blas", "openblas 0.3 Zen"),
        ("threads", 3),
    ]


def test_the_processor_is_the_first_of_those_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(CPUINFO)
    monkeypatch.setattr(environment, "CPUINFO", tmp_path / "cpuinfo")
    assert environment.processor() == "Maker 6 85 4 Maker(R) A: 9"


def test_where_linux_lists_none_python_names_the_processor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(platform, "processor", lambda: "arm")
    assert environment.processor() == "arm"


def test_caches_are_those_of_the_first_core(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "CACHES", tmp_path)
    assert environment.caches() == ""
    for name, size in [("index2", "1024K"), ("index0", "48K"), ("index1", "32K"), ("other", "1K")]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "size").write_text(f"{size}\n")
        (tmp_path / name / "level").write_text("1\n")
    assert environment.caches() == "48K 32K 1024K"


def test_kernels_of_linear_algebra_are_named_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "threadpool_info", lambda: LIBRARIES)
    assert environment.blas_kernels() == "mkl 2025.0, openblas 0.3 Zen"


def test_places_are_those_of_linux() -> None:
    assert Path("/proc/cpuinfo") == environment.CPUINFO
    assert Path("/sys/devices/system/cpu/cpu0/cache") == environment.CACHES
