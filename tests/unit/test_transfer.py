"""What every download has: a rate below which it has stalled, a largest size, a bar."""

import io
import re
from types import SimpleNamespace

import pytest

from stages.fetch.transfer import SourceError, StallError, Transfer
from tests.unit.scripted_server import limits
from tests.unit.terminal import make_terminal


class Clock:
    """A clock that a test sets."""

    now = 1000.0

    def monotonic(self) -> float:
        """Return the time, s."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("stages.fetch.transfer.time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


def watch(clock: Clock, progress: list[tuple[float, int]], done: int = 0) -> None:
    """Let a download reach so many bytes after so many seconds, at 100 bytes/s over 10 s."""
    with Transfer("a", limits(stall_seconds=10, minimum_rate=100), done=done) as transfer:
        start = clock.now
        for seconds, bytes_ in progress:
            clock.now = start + seconds
            transfer.reach(bytes_)
            assert transfer.done == bytes_


@pytest.mark.parametrize(
    "progress",
    [
        pytest.param([(10, 1000)], id="exactly the lowest rate"),
        pytest.param([(9.9, 0), (10, 1000)], id="slow at first, but not for a whole window"),
        pytest.param([(10, 1000), (20, 2000), (30, 3000)], id="window by window"),
        pytest.param([(10, 9000), (19.9, 9000)], id="nothing, but not for a whole window"),
        pytest.param(
            [(25, 2500), (34.9, 2500)], id="a window begins where the last one was judged"
        ),
        pytest.param([(6, 0), (12, 1200), (20, 1200)], id="late, but quick enough over all of it"),
    ],
)
def test_a_download_that_is_quick_enough_goes_on(
    clock: Clock, progress: list[tuple[float, int]]
) -> None:
    watch(clock, progress)


@pytest.mark.parametrize(
    ("progress", "done", "found"),
    [
        pytest.param([(10, 980)], 0, "98 bytes/s over 10 s", id="from the start"),
        pytest.param([(9.9, 0), (10, 0)], 0, "0 bytes/s over 10 s", id="at the window's end"),
        pytest.param(
            [(10, 9000), (20, 9990)], 0, "99 bytes/s over 10 s", id="after a quick window"
        ),
        pytest.param([(10, 8000), (20, 9000), (32.4, 9410)], 0, "33 bytes/s over 12 s", id="third"),
        pytest.param([(10, 5500)], 5000, "50 bytes/s over 10 s", id="what was here does not count"),
    ],
)
def test_a_download_below_the_lowest_rate_has_stalled(
    clock: Clock, progress: list[tuple[float, int]], done: int, found: str
) -> None:
    with pytest.raises(StallError) as error:
        watch(clock, progress, done)
    assert str(error.value) == f"stalled: {found}, below fetch.minimum_rate = 100"
    assert clock.now == 1000 + progress[-1][0]


def test_a_download_may_be_as_large_as_allowed() -> None:
    with Transfer("a", limits(maximum_bytes=1000)) as transfer:
        transfer.reach(1000)
        with pytest.raises(SourceError) as error:
            transfer.reach(1001)
    assert str(error.value) == "larger than fetch.maximum_bytes = 1000"


@pytest.mark.parametrize(
    ("total", "first", "last"),
    [
        (
            2000,
            "a.tar.gz:  50%|#####     | 1.00k/2.00k [",
            "a.tar.gz:  75%|#######5  | 1.50k/2.00k [",
        ),
        (None, "a.tar.gz: 1.00kB [", "a.tar.gz: 1.50kB ["),
    ],
)
def test_the_bar_begins_with_what_was_here(
    monkeypatch: pytest.MonkeyPatch, total: int | None, first: str, last: str
) -> None:
    terminal = make_terminal(monkeypatch)
    with Transfer("a.tar.gz", limits(), total, 1000) as transfer:
        assert len(terminal.states) == 1
        transfer.reach(1200)
        transfer.reach(1500)
    assert terminal.states[0].startswith(first)
    assert terminal.states[-1].startswith(last)
    assert re.search(r"\[.*B/s\]$", terminal.states[-1])
    # So that what is printed next has a line of its own.
    assert terminal.getvalue().endswith("\n")


def test_no_bar_is_drawn_where_standard_error_is_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    monkeypatch.setattr("sys.stderr", file)
    with Transfer("a.tar.gz", limits(), 2000) as transfer:
        transfer.reach(2000)
    assert file.getvalue() == ""
