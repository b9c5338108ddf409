"""Whether an NVIDIA driver answers, and what is said where TensorFlow sees no GPU all the same."""

import ctypes
import runpy
from importlib import metadata
from types import SimpleNamespace

import pytest

from stages import nvidia

NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE


def install_driver(monkeypatch: pytest.MonkeyPatch, driver: object) -> None:
    """Let a library be what is loaded by the driver's name; where it is None, there is no file."""

    def load(name: str) -> object:
        assert name == "libcuda.so.1"
        if driver is None:
            raise OSError(f"{name}: cannot open shared object file")
        return driver

    monkeypatch.setattr(ctypes, "CDLL", load)


def driver_that_returns(code: int) -> SimpleNamespace:
    """Return a driver by what its start returns, which takes no flags."""
    return SimpleNamespace(cuInit={0: code}.__getitem__)


ANSWERS = [
    (driver_that_returns(0), True),
    (driver_that_returns(NO_DEVICE), False),
    (driver_that_returns(1), False),
    (SimpleNamespace(), False),
    (None, False),
]


@pytest.mark.parametrize(("driver", "answers"), ANSWERS)
def test_a_driver_answers_where_it_starts(
    monkeypatch: pytest.MonkeyPatch, driver: object, answers: bool
) -> None:
    install_driver(monkeypatch, driver)
    assert nvidia.driver_answers() is answers
    with pytest.raises(SystemExit) as end:
        runpy.run_path(nvidia.__file__, run_name="__main__")
    assert bool(end.value.code) is not answers


@pytest.mark.parametrize(
    ("driver", "installed", "reason"),
    [
        (None, [], "no GPU is seen"),
        (driver_that_returns(NO_DEVICE), ["nvidia-cudnn-cu12"], "no GPU is seen"),
        (
            driver_that_returns(0),
            ["tensorflow"],
            "an NVIDIA driver answers, but TensorFlow's CUDA packages are missing: `make repro` or "
            "`pip install -r requirements-gpu.lock` installs them",
        ),
        (
            driver_that_returns(0),
            ["tensorflow", "nvidia-cudnn-cu12"],
            "an NVIDIA driver answers, but TensorFlow sees no GPU: TF_CPP_MIN_LOG_LEVEL=0 shows "
            "more",
        ),
    ],
)
def test_why_no_gpu_is_seen(
    monkeypatch: pytest.MonkeyPatch, driver: object, installed: list[str], reason: str
) -> None:
    def version(name: str) -> str:
        if name not in installed:
            raise metadata.PackageNotFoundError(name)
        return "1.0"

    install_driver(monkeypatch, driver)
    monkeypatch.setattr(nvidia, "version", version)
    assert nvidia.why_unseen() == reason
