"""The number of processors that a process may use."""

import os
from pathlib import Path

import pytest

from stages import processors
from stages.processors import multiply_bfloat16, quotas, usable


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the empty folder of the control groups, on a machine with four processors."""
    groups = tmp_path / "groups"
    groups.mkdir()
    monkeypatch.setattr(processors, "GROUPS", groups)
    monkeypatch.setattr(processors, "OWN_GROUP", tmp_path / "own")
    monkeypatch.setattr(os, "cpu_count", lambda: 9)

    def affinity(process: int) -> set[int]:
        assert process == 0
        return {0, 2, 3, 7}

    monkeypatch.setattr(os, "sched_getaffinity", affinity)
    return groups


def write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{content}\n")


def test_without_quotas_the_affinity_counts(groups: Path) -> None:
    assert quotas() == []
    assert usable() == 4


def test_where_there_is_no_affinity_every_processor_counts(
    groups: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    assert usable() == 9
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable() == 1


@pytest.mark.parametrize(
    ("quota", "expected"),
    [
        ("300000 100000", 3),
        ("210000 100000", 3),
        ("200000 100000", 2),
        ("20000 100000", 1),
        ("0 100000", 1),
        ("100000 50000", 2),
        ("900000 100000", 4),
        ("max 100000", 4),
    ],
)
def test_a_part_of_a_processor_counts_as_one(groups: Path, quota: str, expected: int) -> None:
    write(processors.OWN_GROUP, "0::/")
    write(groups / "cpu.max", quota)
    assert usable() == expected


def test_quotas_of_the_group_and_of_those_above_it_hold(groups: Path) -> None:
    write(processors.OWN_GROUP, "1:name=systemd:/x\n0::/X.slice/b:c.service")
    write(groups / "x/cpu.max", "100000 400000")
    write(groups / "X.slice/b:c.service/cpu.max", "100000 100000")
    write(groups / "X.slice/cpu.max", "100000 50000")
    write(groups / "cpu.max", "max 100000")
    write(groups / "X.slice/other.service/cpu.max", "100000 1000000")
    assert sorted(quotas()) == [0.25, 1.0, 2.0]


def test_without_control_groups_of_its_own_no_quota_of_version_2_holds(groups: Path) -> None:
    write(groups / "cpu.max", "100000 100000")
    assert quotas() == []


@pytest.mark.parametrize(("quota", "expected"), [("150000", [3.0]), ("-1", [])])
def test_quota_of_version_1(groups: Path, quota: str, expected: list[float]) -> None:
    write(groups / "cpu/cpu.cfs_quota_us", quota)
    write(groups / "cpu/cpu.cfs_period_us", "50000")
    assert quotas() == expected


def test_places_are_those_of_linux() -> None:
    assert Path("/sys/fs/cgroup") == processors.GROUPS
    assert Path("/proc/self/cgroup") == processors.OWN_GROUP


@pytest.mark.parametrize(
    ("content", "is_native"),
    [
        (None, False),
        ("", False),
        ("processor\t: 0\nflags\t\t: fpu avx512f avx512_bf16 avx512_fp16\nbugs\t: x\n", True),
        ("flags\t\t: fpu amx_tile amx_bf16\n", True),
        ("flags\t\t: fpu avx512f avx512_bf16x\nbugs\t\t: avx512_bf16\n", False),
        ("processor\t: 0\nmodel name\t: A \ufffd\nFeatures\t: fp asimd bf16\n", False),
    ],
)
def test_what_multiplies_bfloat16(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, is_native: bool
) -> None:
    """By the flags of the first processor, as Linux has them."""
    monkeypatch.setattr(processors, "CPUINFO", tmp_path / "cpuinfo")
    if content is not None:
        (tmp_path / "cpuinfo").write_text(content)
    assert multiply_bfloat16() is is_native
