"""How many processors this process may use, and which instructions they have."""

import math
import os
import re
from pathlib import Path, PurePosixPath

import numpy as np

GROUPS = Path("/sys/fs/cgroup")
OWN_GROUP = Path("/proc/self/cgroup")

CPUINFO = Path("/proc/cpuinfo")
# What multiplies bfloat16, by Linux's names.
BFLOAT16 = {"avx512_bf16", "amx_bf16"}
# By NumPy's names.
INSTRUCTION_SETS: list[str] = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])


def multiply_bfloat16() -> bool:
    """Return whether processors have instructions for bfloat16; of x86 under Linux only."""
    text = CPUINFO.read_text(errors="replace") if CPUINFO.exists() else ""
    flags = re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)
    return bool(flags and BFLOAT16 & set(flags[1].split()))


def usable() -> int:
    """Return the number of processors by this process's affinity and its control groups' quotas.

    Python's own `os.process_cpu_count`, of 3.13, heeds no quota, as containers have one.
    """
    # macOS knows no affinity.
    counted = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, math.ceil(min([counted or 1, *quotas()])))


def quotas() -> list[float]:
    """Return each quota that holds for this process, in processors.

    See https://docs.kernel.org/admin-guide/cgroup-v2.html and .../scheduler/sched-bwc.html.
    """
    found = []
    files = [GROUPS / "cpu/cpu.cfs_quota_us"]
    if OWN_GROUP.exists():
        for line in OWN_GROUP.read_text().splitlines():
            # 0::/system.slice/one.service, in a container 0::/
            group = PurePosixPath(line.split(":", 2)[2].lstrip("/"))
            files += [GROUPS / parent / "cpu.max" for parent in (group, *group.parents)]
    for file in files:
        if not file.exists():
            continue
        if file.name == "cpu.max":
            quota, period = file.read_text().split()
        else:
            quota, period = file.read_text(), file.with_name("cpu.cfs_period_us").read_text()
        if quota.strip() not in ("max", "-1"):
            found.append(int(quota) / int(period))
    return found
