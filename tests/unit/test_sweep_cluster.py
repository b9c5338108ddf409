"""What a trial of a sweep takes of the machines of a cluster."""

import pytest
import ray

from stages.errors import InputError
from tools.sweep.cluster import MEMORY, needs

GIB = 1024**3
SMALL = {"CPU": 2.0, "memory": 16.0 * GIB}
LARGE = {"CPU": 16.0, "GPU": 4.0, "memory": 64.0 * GIB}


def cluster_of(patch: pytest.MonkeyPatch, *machines: dict[str, float]) -> None:
    """Let Ray know of these machines, and of one that is gone."""
    total: dict[str, float] = {}
    for machine in machines:
        total = {kind: total.get(kind, 0) + machine.get(kind, 0) for kind in total | machine}
    nodes = [{"Alive": True, "Resources": machine} for machine in machines]
    patch.setattr(ray, "cluster_resources", lambda: total)
    patch.setattr(ray, "nodes", lambda: [*nodes, {"Alive": False, "Resources": {"GPU": 100.0}}])


@pytest.mark.parametrize(
    ("machine", "cpus", "gpus", "expected"),
    [
        (SMALL, None, None, (1, 0)),
        (SMALL, 2, None, (2, 0)),
        (SMALL, None, 0, (1, 0)),
        (LARGE, None, None, (4, 1)),
        (LARGE, None, 0.5, (2, 0.5)),
        (LARGE, None, 0.1, (1, 0.1)),
        (LARGE, 3, 2, (3, 2)),
        (LARGE, None, 0, (1, 0)),
    ],
)
def test_an_equal_share_for_each_gpu(
    monkeypatch: pytest.MonkeyPatch,
    machine: dict[str, float],
    cpus: int | None,
    gpus: float | None,
    expected: tuple[float, float],
) -> None:
    cluster_of(monkeypatch, machine)
    processors, cards = expected
    assert needs(cpus, gpus) == {"CPU": processors, "GPU": cards, "memory": MEMORY}


@pytest.mark.parametrize(
    ("cpus", "gpus", "asked"),
    [(None, 1, "--cpus 1 --gpus 1"), (3, None, "--cpus 3 --gpus 0")],
)
def test_what_no_machine_has_is_refused(
    monkeypatch: pytest.MonkeyPatch, cpus: int | None, gpus: float | None, asked: str
) -> None:
    cluster_of(monkeypatch, SMALL, SMALL)
    with pytest.raises(InputError) as refused:
        needs(cpus, gpus)
    assert str(refused.value) == (
        f"{asked}: no machine has these and 4 GiB of memory; together they have 4 processors, "
        "0 GPUs and 32 GiB"
    )
