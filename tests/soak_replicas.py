"""A machine that trains together with another one is killed or stops answering. `make soak`."""

import signal
from pathlib import Path

import pytest

from tests.workers import lose_a_worker


def test_a_killed_worker_ends_all_and_the_next_start_goes_on(arrays: Path, tmp_path: Path) -> None:
    """As test_replicas.py kills the chief."""
    lose_a_worker(arrays, tmp_path, 1, signal.SIGKILL)


@pytest.mark.parametrize("gone", [0, 1], ids=["chief", "worker"])
def test_a_frozen_worker_ends_all_and_the_next_start_goes_on(
    arrays: Path, tmp_path: Path, gone: int
) -> None:
    """As if its network were cut, or it were suspended."""
    lose_a_worker(arrays, tmp_path, gone, signal.SIGSTOP)
