"""Downloads over HTTP: how a broken one goes on, which end for good, what a slow one is."""

import re
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.common.config import Fetch
from pipeline.common.shell import UserError
from pipeline.data.download import SourceError, StallError, Transfer, download
from tests.servers import Answer, Server
from tests.unit.disk import leave_free
from tests.unit.terminal import make_terminal

Patch = pytest.MonkeyPatch

WHOLE = Answer(b"0123456789", headers={"Content-Length": "10"})
FIRST_FOUR = Answer(b"0123", headers=WHOLE.headers)
LAST_SIX = Answer(b"456789", 206, headers={"Content-Length": "6"})
PART = Path("folder/part")
pytestmark = pytest.mark.usefixtures("folder")


@pytest.fixture(autouse=True)
def waits(monkeypatch: Patch) -> list[float]:
    """Return the seconds waited before each attempt, which pass at once."""
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    return waits


def limits(**changes: Any) -> Fetch:
    wide = {"attempts": 1, "stall_seconds": 5, "minimum_rate": 1, "maximum_bytes": 10**9}
    return Fetch(**{"sources": ["anywhere"], **wide, **changes})


def bring(server: Server, *answers: Answer, **settings: Any) -> bytes:
    """Download what the server answers, an attempt for each answer."""
    server.answers = [*answers]
    settings = {"attempts": len(answers) or 1} | settings
    return download(f"{server.url}/b.tar.gz?c=d", PART.parent, limits(**settings)).read_bytes()


def failure(server: Server, *answers: Answer, **settings: Any) -> str:
    with pytest.raises((SourceError, StallError)) as error:
        bring(server, *answers, **settings)
    return str(error.value)


def leave(part: str = "0123") -> None:
    PART.parent.mkdir(exist_ok=True)
    PART.write_text(part)


@pytest.mark.parametrize(
    ("headers", "sent", "body"),
    [
        ({"Content-Length": "600000"}, b"0123" * 150_000, b"0123" * 150_000),
        # As it is published: a server may call a tar.gz a gzip-encoded tar.
        ({"Content-Encoding": "gzip"}, b"\x1f\x8b not unpacked", b"\x1f\x8b not unpacked"),
        ({"Transfer-Encoding": "chunked"}, b"3\r\n012\r\n2\r\n34\r\n0\r\n\r\n", b"01234"),
    ],
)
def test_a_download_is_what_the_server_sent(
    server: Server, headers: dict[str, str], sent: bytes, body: bytes
) -> None:
    assert bring(server, Answer(sent, headers=headers)) == body
    assert server.requests[0][0] == "/b.tar.gz?c=d"
    assert server.asked("Accept-Encoding") == ["identity"]
    assert server.asked("Range") == [None]


def test_a_broken_download_goes_on_in_the_next_attempt_and_the_next_run(server: Server) -> None:
    assert bring(server, FIRST_FOUR, LAST_SIX) == b"0123456789"
    PART.unlink()
    assert "4 bytes read, 6 more expected" in failure(server, FIRST_FOUR)
    assert bring(server, LAST_SIX) == b"0123456789"
    assert server.asked("Range") == [None, "bytes=4-"] * 2


def test_a_server_that_does_not_resume_begins_anew(server: Server) -> None:
    leave("old")
    assert bring(server, WHOLE) == b"0123456789"


def test_a_part_that_was_not_asked_for_is_the_whole(server: Server) -> None:
    assert bring(server, Answer(WHOLE.body, 206, WHOLE.headers)) == b"0123456789"


def test_a_server_that_has_no_more(server: Server) -> None:
    """Since the last run was killed after the last byte."""
    leave()
    assert bring(server, Answer(status=416)) == b"0123"
    assert server.asked("Range") == ["bytes=4-"]


@pytest.mark.parametrize(
    "answer",
    [
        Answer(headers={"Content-Length": "11"}, silent=True),
        Answer(endless=(b"zeros", 0)),
        Answer(status=206, headers={"Content-Length": "7"}),
        Answer(b"456789a", 206, silent=True),
    ],
    ids=["known", "endless", "part", "part of unknown length"],
)
def test_a_download_larger_than_allowed_is_refused_at_once(server: Server, answer: Answer) -> None:
    leave()
    said = failure(server, answer, attempts=3, maximum_bytes=10)
    assert said == "larger than fetch.maximum_bytes = 10"
    leave()
    assert bring(server, LAST_SIX, maximum_bytes=10) == b"0123456789"


@pytest.mark.parametrize("status", [400, 404, 408, 416, 429, 499, 500, 599])
def test_what_may_pass_is_asked_for_again(server: Server, status: int, waits: list[float]) -> None:
    if status in (400, 404, 416, 499):
        assert failure(server, Answer(status=status), attempts=6) == f"HTTP {status} As told"
        return
    said = failure(server, *[Answer(status=status)] * 6)
    assert said == f"HTTP {status} As told (attempts: 6)"
    assert waits == [0, 1, 2, 4, 8, 10]


def test_a_connection_that_fails_is_described(server: Server, monkeypatch: Patch) -> None:
    said = failure(server, Answer(status=None))
    assert said == "Remote end closed connection without response (attempts: 1)"
    for silence in (Answer(status=None, silent=True), Answer(b"0123", silent=True)):
        assert failure(server, silence, stall_seconds=0.1) == "timed out (attempts: 1)"
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        server.url = f"http://127.0.0.1:{reserved.getsockname()[1]}"
        assert "Connection refused" in failure(server)
        monkeypatch.setenv("NO_PROXY", "")
        monkeypatch.setenv("http_proxy", server.url)
        assert failure(server).startswith("proxy: ")


def test_a_disk_without_room_ends_the_stage(server: Server, monkeypatch: Patch) -> None:
    leave()
    leave_free(monkeypatch, 5)
    with pytest.raises(UserError, match=r"^folder/part: 6 bytes needed, 5 free"):
        bring(server, LAST_SIX)
    leave_free(monkeypatch, 10)
    assert bring(server, WHOLE) == b"0123456789"
    PART.unlink()
    PART.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device"):
        bring(server, WHOLE)


@pytest.mark.parametrize(
    ("progress", "done", "rate"),
    [
        ([(9.9, 0), (10, 1000), (19.9, 1000), (20, 2000), (30, 2980)], 0, "98 bytes/s over 10 s"),
        ([(25, 2500), (34.9, 2500), (37.4, 2910)], 0, "33 bytes/s over 12 s"),
        ([(10, 5500)], 5000, "50 bytes/s over 10 s"),
    ],
)
def test_a_download_below_the_lowest_rate_has_stalled(
    monkeypatch: Patch, progress: list[tuple[float, int]], done: int, rate: str
) -> None:
    """At 100 bytes/s over 10 s, with the last of these; what was here before does not count."""
    seconds = 0.0
    clock = SimpleNamespace(monotonic=lambda: 1000 + seconds)
    monkeypatch.setattr("pipeline.data.download.time", clock)
    with Transfer("a", limits(stall_seconds=10, minimum_rate=100), done=done) as transfer:
        for seconds, reached in progress[:-1]:
            transfer.reach(reached)
        seconds, reached = progress[-1]
        with pytest.raises(StallError, match=f"^stalled: {rate}, below fetch.minimum_rate = 100$"):
            transfer.reach(reached)


def test_the_bar_shows_the_file_and_all_of_it(server: Server, monkeypatch: Patch) -> None:
    terminal = make_terminal(monkeypatch)
    leave("x" * 1000)
    bring(server, Answer(bytes(3000), 206, headers={"Content-Length": "3000"}))
    assert re.match(r"b.tar.gz\?c=d:  25%.*1.00k/4.00k", terminal.states[0])
    assert re.match(r"b.tar.gz\?c=d: 100%.*4.00k/4.00k", terminal.states[-1])
