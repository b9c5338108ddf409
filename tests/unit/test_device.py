"""The device that works, and what makes its results the same each time."""

from typing import Any

import pytest

from stages import device  # First, since TensorFlow reads what it sets.
from stages.errors import InputError
from stages.params import Device, Precision
from tests.unit.reader import read_output

import keras  # isort: skip
import tensorflow as tf  # isort: skip

Calls = list[tuple[Any, ...]]
CPU, GPU = "/device:CPU:0", "/device:GPU:0"
# What TensorFlow says of each GPU.
DETAILS: dict[str, dict[str, Any]] = {
    "first": {"device_name": "NVIDIA first", "compute_capability": (8, 0)},
    "second": {"device_name": "NVIDIA second", "compute_capability": (7, 5)},
    "nameless": {},
    "oldest": {"device_name": "P100", "compute_capability": (6, 0)},
    "newest": {"device_name": "H100", "compute_capability": (9, 0)},
    "too old": {"device_name": "M40", "compute_capability": (5, 2)},
    "too new": {"device_name": "B200", "compute_capability": (10, 0)},
    "much too new": {"device_name": "RTX 5090", "compute_capability": (12, 0)},
}
WORKS = f"but TensorFlow {tf.__version__} works with 6.0 to 9.0"
# By a GPU that TensorFlow cannot use, what is said of it.
REASONS = {
    "too old": f"M40 has compute capability 5.2, {WORKS}",
    "too new": f"B200 has compute capability 10.0, {WORKS}",
    "much too new": f"RTX 5090 has compute capability 12.0, {WORKS}",
    "unseen": "the reason",
}
# By GPUs, device and precision, the latter as it is taken.
CHOICES: list[tuple[list[str], Device, Precision, str, str]] = [
    ([], "cpu", "auto", CPU, "device: CPU, float32\n"),
    ([], "cpu", "bfloat16", CPU, "device: CPU, bfloat16\n"),
    (["first", "second"], "cpu", "auto", CPU, "device: CPU, float32\n"),
    (["first", "second"], "auto", "auto", GPU, "device: GPU, NVIDIA first, bfloat16\n"),
    (["first", "second"], "gpu", "float32", GPU, "device: GPU, NVIDIA first, float32\n"),
    (["second", "first"], "gpu", "auto", GPU, "device: GPU, NVIDIA second, float32\n"),
    (["second", "first"], "gpu", "bfloat16", GPU, "device: GPU, NVIDIA second, bfloat16\n"),
    (["nameless"], "auto", "auto", GPU, "device: GPU, unnamed, float32\n"),
    (["oldest"], "auto", "float32", GPU, "device: GPU, P100, float32\n"),
    (["newest"], "gpu", "auto", GPU, "device: GPU, H100, bfloat16\n"),
    *(
        ([gpu] if gpu in DETAILS else [], "auto", "auto", CPU, f"device: CPU, float32; {reason}\n")
        for gpu, reason in REASONS.items()
    ),
]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Return what TensorFlow is asked for, in order."""
    calls: Calls = []

    for name in ("enable_op_determinism", "set_memory_growth"):
        monkeypatch.setattr(
            tf.config.experimental, name, lambda *given, name=name: calls.append((name, *given))
        )
    monkeypatch.setattr(
        tf.config, "set_visible_devices", lambda *given: calls.append(("set_visible", *given))
    )
    monkeypatch.setattr(tf.config.experimental, "get_device_details", DETAILS.get)
    monkeypatch.setattr(device, "why_unseen", lambda: REASONS["unseen"])
    return calls


@pytest.mark.parametrize(("gpus", "wanted", "precision", "place", "says"), CHOICES)
def test_the_device_is_chosen_and_told(
    monkeypatch: pytest.MonkeyPatch,
    calls: Calls,
    gpus: list[str],
    wanted: Device,
    precision: Precision,
    place: str,
    says: str,
) -> None:
    """One of them; of a GPU that is not used, TensorFlow takes no memory."""
    monkeypatch.setattr(device, "GPUS", gpus)
    pipe = read_output(monkeypatch)
    (found,) = device.select(wanted, precision)
    assert found.to_string() == place
    policy = "mixed_bfloat16" if "bfloat16" in says else "float32"
    assert keras.config.dtype_policy().name == policy
    assert pipe.arrived == says
    on_gpu = place == GPU
    growing = [("set_memory_growth", *gpus[:1], True)] if on_gpu else []
    visible = ("set_visible", gpus[:1] if on_gpu else [], "GPU")
    assert calls == [("enable_op_determinism",), visible, *growing]


@pytest.mark.parametrize(
    ("precision", "taken"),
    [("auto", "bfloat16"), ("float32", "float32"), ("bfloat16", "bfloat16")],
)
def test_a_processor_made_for_bfloat16(
    monkeypatch: pytest.MonkeyPatch,
    calls: Calls,
    capsys: pytest.CaptureFixture[str],
    precision: Precision,
    taken: str,
) -> None:
    monkeypatch.setattr(device, "multiply_bfloat16", lambda: True)
    device.select("cpu", precision)
    assert capsys.readouterr().out == f"device: CPU, {taken}\n"
    assert keras.config.dtype_policy().compute_dtype == taken


# By GPUs and how many are asked for, which are taken.
SEVERAL: list[tuple[list[str], int | None, list[str], str]] = [
    (["first", "second"], None, ["first", "second"], "2 GPUs, NVIDIA first"),
    (["first", "second"], 2, ["first", "second"], "2 GPUs, NVIDIA first"),
    (["first", "second", "newest"], 2, ["first", "second"], "2 GPUs, NVIDIA first"),
    (["too old", "newest", "too new", "first"], None, ["newest", "first"], "2 GPUs, H100"),
    (["too old", "newest"], 1, ["newest"], "GPU, H100"),
    (["first"], None, ["first"], "GPU, NVIDIA first"),
]


@pytest.mark.parametrize(("gpus", "count", "taken", "says"), SEVERAL)
def test_several_gpus(
    monkeypatch: pytest.MonkeyPatch,
    calls: Calls,
    capsys: pytest.CaptureFixture[str],
    gpus: list[str],
    count: int | None,
    taken: list[str],
    says: str,
) -> None:
    """Those that can be used; the first one's name and precision stand for all."""
    monkeypatch.setattr(device, "GPUS", gpus)
    places = device.select("auto", "auto", count)
    assert [place.to_string() for place in places] == [
        f"/device:GPU:{number}" for number in range(len(taken))
    ]
    growing = [("set_memory_growth", gpu, True) for gpu in taken]
    assert calls[1:] == [("set_visible", taken, "GPU"), *growing]
    assert capsys.readouterr().out == f"device: {says}, bfloat16\n"


@pytest.mark.parametrize(
    ("index", "name"), [(0, "GPU H100"), (1, "GPU NVIDIA first"), (None, "CPU")]
)
def test_what_trained_has_its_name(
    monkeypatch: pytest.MonkeyPatch, calls: Calls, index: int | None, name: str
) -> None:
    monkeypatch.setattr(tf.config, "get_visible_devices", {"GPU": ["newest", "first"]}.get)
    kind = "CPU" if index is None else "GPU"
    assert device.named(tf.DeviceSpec(device_type=kind, device_index=index)) == name


@pytest.mark.parametrize("wanted", ["auto", "gpu"])
def test_more_gpus_than_there_are_are_refused(
    monkeypatch: pytest.MonkeyPatch, calls: Calls, wanted: Device
) -> None:
    monkeypatch.setattr(device, "GPUS", ["first", "too old", "second"])
    with pytest.raises(InputError) as caught:
        device.select(wanted, devices=3)
    assert str(caught.value) == "params.yaml: devices = 3: allowed here are 1 to 2"


def test_a_cpu_is_divided(
    monkeypatch: pytest.MonkeyPatch, calls: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    configured: Calls = []
    monkeypatch.setattr(
        tf.config, "set_logical_device_configuration", lambda *given: configured.append(given)
    )
    monkeypatch.setattr(device, "GPUS", [])
    places = device.select("auto", devices=3)
    assert [place.to_string() for place in places] == [f"/device:CPU:{n}" for n in range(3)]
    ((processor, parts),) = configured
    assert processor == tf.config.list_physical_devices("CPU")[0]
    assert len(parts) == 3
    assert capsys.readouterr().out == "device: 3 CPUs, float32; the reason\n"


@pytest.mark.parametrize("gpu", REASONS)
def test_a_gpu_that_cannot_be_used_is_refused(
    monkeypatch: pytest.MonkeyPatch, calls: Calls, gpu: str
) -> None:
    monkeypatch.setattr(device, "GPUS", [gpu] if gpu in DETAILS else [])
    with pytest.raises(InputError) as caught:
        device.select("gpu")
    assert str(caught.value) == (
        f"params.yaml: device = 'gpu': {REASONS[gpu]}; allowed here are auto and cpu"
    )
