"""Variables and files by which a user sets TensorFlow, Keras and matplotlib are not heeded."""

import os
import runpy

import pytest

from stages import settings

SET = {
    "TF_ENABLE_ONEDNN_OPTS": "1",
    "KERAS_BACKEND": "tensorflow",
    "KERAS_HOME": "/dev/null",
    "MATPLOTLIBRC": "/dev/null",
}


def environment_after(patch: pytest.MonkeyPatch, **before: str) -> dict[str, str]:
    """Return the variables that are left of `before`, as if the program had just begun."""
    patch.setattr(os, "environ", dict(before))
    runpy.run_path(str(settings.__file__))
    return os.environ  # type: ignore[return-value]


def test_without_variables_the_programs_own_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment_after(monkeypatch) == SET


@pytest.mark.parametrize(
    "name",
    [
        "TF_NUM_INTRAOP_THREADS",
        "TF_USE_LEGACY_KERAS",
        "TF_GPU_THREAD_MODE",
        "ONEDNN_MAX_CPU_ISA",
        "DNNL_MAX_CPU_ISA",
        "XLA_FLAGS",
        "NVIDIA_TF32_OVERRIDE",
        "KERAS_MAX_EPOCHS",
        "MPLBACKEND",
        *SET,
    ],
)
def test_what_could_change_results_is_dropped(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    assert environment_after(monkeypatch, **{name: "other"}) == SET


@pytest.mark.parametrize(
    "name",
    ["PATH", "TF_CPP_MIN_LOG_LEVEL", "TF_GPU_ALLOCATOR", "OMP_NUM_THREADS", "MPLCONFIGDIR", "tf_a"],
)
def test_what_changes_none_is_kept(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    assert environment_after(monkeypatch, **{name: "other"}) == SET | {name: "other"}
