"""Downloads over HTTP that fail: what is tried again, after which wait, and what is said."""

import errno
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from stages.fetch.transfer import SourceError
from stages.fetch.web import download
from tests.unit.scripted_server import Answer, ScriptedServer, limits

WHOLE = Answer(b"0123456789", headers={"Content-Length": "10"})


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the seconds waited between attempts, which pass at once."""
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    return waits


@pytest.fixture
def failure(tmp_path: Path) -> Callable[..., str]:
    """Return a function that tries a download, which must fail, and returns what is said."""

    def failure(url: str, **settings: Any) -> str:
        with pytest.raises(SourceError) as error:
            download(url, tmp_path, limits(**settings))
        return str(error.value)

    return failure


@pytest.fixture
def refusing() -> Iterator[str]:
    """Return host and port where nobody listens."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{reserved.getsockname()[1]}"


@pytest.mark.parametrize("status", [400, 404, 407, 409, 428, 430, 499])
def test_an_answer_of_4xx_is_for_good(
    tmp_path: Path,
    server: ScriptedServer,
    failure: Callable[..., str],
    waits: list[float],
    status: int,
) -> None:
    (tmp_path / "other.part").write_text("another download")
    server.answers = [
        Answer(b"0123", headers={"Content-Length": "10", "ETag": '"a"'}),
        Answer(b"a page", status, "Not so"),
    ]
    assert failure(f"{server.url}/a", attempts=3) == f"HTTP {status} Not so"
    assert waits == [1]
    assert [path.name for path in tmp_path.iterdir()] == ["other.part"]


@pytest.mark.parametrize("status", [408, 429, 500, 503, 599])
def test_an_answer_that_may_be_another_next_time_is_asked_for_again(
    tmp_path: Path,
    server: ScriptedServer,
    failure: Callable[..., str],
    waits: list[float],
    status: int,
) -> None:
    busy = Answer(b"a page", status, "Not now")
    server.answers = [busy]
    assert failure(f"{server.url}/a") == f"HTTP {status} Not now (1 attempt)"
    assert [*tmp_path.iterdir()] == []
    server.answers = [busy, WHOLE]
    path = download(f"{server.url}/a", tmp_path, limits(attempts=2))
    assert path.read_bytes() == b"0123456789"
    assert waits == [1]


def test_the_waits_double_up_to_ten_seconds_and_the_last_reason_is_said(
    server: ScriptedServer, failure: Callable[..., str], waits: list[float]
) -> None:
    server.answers = [*[Answer(status=500)] * 6, Answer(status=503, reason="The last")]
    assert failure(f"{server.url}/a", attempts=7) == "HTTP 503 The last (7 attempts)"
    assert waits == [1, 2, 4, 8, 10, 10]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (
            Answer(b"0123", headers={"Content-Length": "10"}),
            "Connection broken: IncompleteRead(4 bytes read, 6 more expected)",
        ),
        # An answer without a body by its status, whatever it promises.
        (
            Answer(status=204, headers={"Content-Length": "10"}),
            "broke off after 0 of 10 bytes",
        ),
        (Answer(status=None), "Connection aborted: Remote end closed connection without response"),
        (Answer(status=None, silent=True), "Read timed out. (read timeout=0.1)"),
        (Answer(silent=True), "Read timed out."),
        (Answer(b"0123", headers={"Content-Length": "10"}, silent=True), "Read timed out."),
    ],
    ids=["broken off", "no body", "no answer", "silence", "silent body", "silent later"],
)
def test_a_connection_that_fails_is_described(
    server: ScriptedServer, failure: Callable[..., str], answer: Answer, reason: str
) -> None:
    server.answers = [answer] * 3
    settings = {"stall_seconds": 0.1 if answer.silent else 5}
    assert failure(f"{server.url}/a", **settings) == f"{reason} (1 attempt)"
    assert failure(f"{server.url}/a", attempts=2, **settings) == f"{reason} (2 attempts)"


def test_a_server_that_is_off_is_described(failure: Callable[..., str], refusing: str) -> None:
    refused = f"[Errno {errno.ECONNREFUSED}] {os.strerror(errno.ECONNREFUSED)}"
    expected = f"Failed to establish a new connection: {refused} (1 attempt)"
    assert failure(f"http://{refusing}/a") == expected


def test_a_proxy_that_is_off_is_described(
    failure: Callable[..., str], refusing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", f"http://{refusing}")
    refused = f"[Errno {errno.ECONNREFUSED}] {os.strerror(errno.ECONNREFUSED)}"
    assert failure("http://127.0.0.1:1/a") == (
        f"Unable to connect to proxy: Failed to establish a new connection: {refused} (1 attempt)"
    )


def test_a_host_of_no_address_is_described(
    failure: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*arguments: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", unknown)
    monkeypatch.setenv("NO_PROXY", "nowhere.example")
    number = int(socket.EAI_NONAME)
    assert failure("http://nowhere.example/a") == (
        f"Failed to resolve 'nowhere.example' ([Errno {number}] Name or service not known) "
        "(1 attempt)"
    )


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (requests.ConnectionError(), "ConnectionError"),
        (requests.ConnectionError(requests.Timeout()), "Timeout"),
        (requests.ConnectionError("one\n  two"), "one two"),
        (requests.HTTPError("without an answer"), "without an answer"),
    ],
    ids=["silent", "nested", "lines", "no answer"],
)
def test_a_reason_takes_one_line(
    failure: Callable[..., str], monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    def get(*arguments: object, **settings: object) -> None:
        raise error

    monkeypatch.setattr("requests.get", get)
    assert failure("http://anywhere/a") == f"{reason} (1 attempt)"


def test_a_download_that_stalls_goes_on_in_the_next_attempt(
    tmp_path: Path, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter(range(0, 1000, 20))
    clock = SimpleNamespace(monotonic=lambda: next(seconds))
    monkeypatch.setattr("stages.fetch.transfer.time", clock)
    settings = {"stall_seconds": 20, "minimum_rate": 3}
    server.answers = [
        Answer(b"x" * 40, headers={"Content-Length": "100", "ETag": '"a"'}, silent=True),
        Answer(b"y" * 60, 206, headers={"Content-Length": "60"}),
        Answer(b"z" * 59, headers={"Content-Length": "100"}, silent=True),
    ]
    path = download(f"{server.url}/a", tmp_path, limits(attempts=2, **settings))
    assert path.read_bytes() == b"x" * 40 + b"y" * 60
    assert server.asked("Range") == [None, "bytes=40-"]
    with pytest.raises(SourceError) as error:
        download(f"{server.url}/b", tmp_path, limits(**settings))
    assert str(error.value) == (
        "stalled: 3 bytes/s over 20 s, below fetch.minimum_rate = 3 (1 attempt)"
    )
