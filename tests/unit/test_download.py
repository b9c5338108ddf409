"""Downloads over HTTP: what is asked for, what is kept, how an unfinished one goes on."""

import hashlib
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from stages.errors import InputError
from stages.fetch.transfer import SourceError
from stages.fetch.web import download
from tests.unit.scripted_server import Answer, ScriptedServer, limits
from tests.unit.terminal import make_terminal

WHOLE = Answer(b"0123456789", headers={"Content-Length": "10", "ETag": '"a"'})
FIRST_FOUR = Answer(b"0123", headers={"Content-Length": "10", "ETag": '"a"'})
LAST_SIX = Answer(b"456789", 206, headers={"Content-Length": "6"})


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)


def name_of(url: str) -> str:
    """Return the name under which a download is found again by the next run."""
    return hashlib.sha256(url.encode()).hexdigest()[:16]


def contents(folder: Path) -> dict[str, str]:
    """Return the text of each file by the end of its name."""
    return {path.suffix: path.read_text() for path in folder.iterdir()}


def leave(folder: Path, url: str, **files: str) -> None:
    """Leave files of an earlier download of `url`, by the ends of their names."""
    folder.mkdir(exist_ok=True)
    for suffix, text in files.items():
        (folder / f"{name_of(url)}.{suffix}").write_text(text)


@pytest.mark.parametrize(
    ("headers", "sent", "body"),
    [
        ({"Content-Length": "10"}, b"0123456789", b"0123456789"),
        ({}, b"0123456789", b"0123456789"),
        ({}, b"", b""),
        # As it is published: a server may call a tar.gz a gzip-encoded tar.
        ({"Content-Encoding": "gzip"}, b"\x1f\x8b not unpacked", b"\x1f\x8b not unpacked"),
        ({"Transfer-Encoding": "chunked"}, b"3\r\n012\r\n2\r\n34\r\n0\r\n\r\n", b"01234"),
        ({"Content-Length": "600000"}, b"0123" * 150_000, b"0123" * 150_000),
    ],
    ids=["of known length", "of unknown length", "empty", "encoded", "chunked", "large"],
)
def test_a_download_is_what_the_server_sent(
    tmp_path: Path, server: ScriptedServer, headers: dict[str, str], sent: bytes, body: bytes
) -> None:
    server.answers = [Answer(sent, headers=headers)]
    url = f"{server.url}/a/b.tar.gz?c=d"
    folder = tmp_path / "data/downloads"
    path = download(url, folder, limits())
    assert path.read_bytes() == body
    assert [*folder.iterdir()] == [path] == [folder / f"{name_of(url)}.part"]
    ((asked, request_headers),) = server.requests
    assert asked == "/a/b.tar.gz?c=d"
    assert request_headers["Accept-Encoding"] == "identity"
    assert not {"Range", "If-Range"} & request_headers.keys()


DATE = "Wed, 25 Nov 2026 10:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "validator"),
    [
        ({"ETag": '"a"'}, '"a"'),
        ({"ETag": '"a"', "Last-Modified": DATE}, '"a"'),
        ({"ETag": 'W/"a"', "Last-Modified": DATE}, DATE),
        ({"Last-Modified": DATE}, DATE),
    ],
)
def test_a_broken_download_goes_on_where_the_file_is_the_same(
    tmp_path: Path, server: ScriptedServer, headers: dict[str, str], validator: str
) -> None:
    server.answers = [Answer(b"0123", headers={"Content-Length": "10", **headers}), LAST_SIX]
    path = download(f"{server.url}/a", tmp_path, limits(attempts=2))
    assert path.read_bytes() == b"0123456789"
    assert server.asked("Range") == [None, "bytes=4-"]
    assert server.asked("If-Range") == [None, validator]
    assert server.asked("Accept-Encoding") == ["identity", "identity"]


@pytest.mark.parametrize("headers", [{}, {"ETag": 'W/"a"'}, {"ETag": ""}], ids=str)
def test_a_broken_download_begins_anew_where_nothing_tells_the_file_from_another(
    tmp_path: Path, server: ScriptedServer, headers: dict[str, str]
) -> None:
    broken = Answer(b"abcd", headers={"Content-Length": "10", **headers})
    # The second one removes the validator of the first.
    server.answers = [FIRST_FOUR, broken, WHOLE]
    path = download(f"{server.url}/a", tmp_path, limits(attempts=3))
    assert path.read_bytes() == b"0123456789"
    assert server.asked("Range") == [None, "bytes=4-", None]
    assert server.asked("If-Range") == [None, '"a"', None]


def test_an_unfinished_download_is_kept_for_the_next_run(
    tmp_path: Path, server: ScriptedServer
) -> None:
    server.answers = [FIRST_FOUR, LAST_SIX]
    with pytest.raises(SourceError):
        download(f"{server.url}/a", tmp_path, limits())
    assert contents(tmp_path) == {".part": "0123", ".validator": '"a"'}
    path = download(f"{server.url}/a", tmp_path, limits())
    assert path.read_bytes() == b"0123456789"
    assert server.asked("Range") == [None, "bytes=4-"]


def test_another_url_is_another_download(tmp_path: Path, server: ScriptedServer) -> None:
    server.answers = [FIRST_FOUR, WHOLE]
    with pytest.raises(SourceError):
        download(f"{server.url}/a", tmp_path, limits())
    download(f"{server.url}/b", tmp_path, limits())
    assert server.asked("Range") == [None, None]


def test_a_file_that_changed_on_the_server_begins_anew(
    tmp_path: Path, server: ScriptedServer
) -> None:
    other = Answer(b"abcdef", headers={"Content-Length": "8", "ETag": '"b"'})
    server.answers = [FIRST_FOUR, other, Answer(b"gh", 206, headers={"Content-Length": "2"})]
    path = download(f"{server.url}/a", tmp_path, limits(attempts=3))
    assert path.read_bytes() == b"abcdefgh"
    assert server.asked("Range") == [None, "bytes=4-", "bytes=6-"]
    assert server.asked("If-Range") == [None, '"a"', '"b"']


@pytest.mark.parametrize("left", [{"part": "old"}, {"validator": '"old"'}, {}], ids=str)
@pytest.mark.parametrize("status", [200, 206])
def test_a_download_begins_anew_where_a_file_of_the_earlier_one_is_missing(
    tmp_path: Path, server: ScriptedServer, left: dict[str, str], status: int
) -> None:
    leave(tmp_path, f"{server.url}/a", **left)
    # A part was not asked for, whatever the server calls its answer.
    server.answers = [Answer(WHOLE.body, status, headers=WHOLE.headers)]
    path = download(f"{server.url}/a", tmp_path, limits())
    assert path.read_bytes() == b"0123456789"
    assert server.asked("Range") == server.asked("If-Range") == [None]
    assert contents(tmp_path) == {".part": "0123456789", ".validator": '"a"'}


@pytest.mark.parametrize("left", [{"part": "too long", "validator": '"a"'}, {}], ids=str)
def test_a_download_begins_anew_where_the_server_has_less(
    tmp_path: Path, server: ScriptedServer, left: dict[str, str]
) -> None:
    leave(tmp_path, f"{server.url}/a", **left)
    server.answers = [Answer(status=416), WHOLE]
    with pytest.raises(SourceError) as error:
        download(f"{server.url}/a", tmp_path, limits())
    assert str(error.value) == "the server has less than what was downloaded before (1 attempt)"
    assert contents(tmp_path) == {}
    assert download(f"{server.url}/a", tmp_path, limits()).read_bytes() == b"0123456789"
    assert server.asked("Range") == ["bytes=8-" if left else None, None]


def test_a_download_that_was_whole_is_not_begun_anew(
    tmp_path: Path, server: ScriptedServer
) -> None:
    """It was killed after its last byte."""
    leave(tmp_path, f"{server.url}/a", part="0123", validator='"a"')
    server.answers = [Answer(status=416, headers={"Content-Range": "bytes */4"})]
    path = download(f"{server.url}/a", tmp_path, limits())
    assert path.read_bytes() == b"0123"


def test_a_part_of_unknown_length_is_added(tmp_path: Path, server: ScriptedServer) -> None:
    server.answers = [FIRST_FOUR, Answer(b"456", 206)]
    path = download(f"{server.url}/a", tmp_path, limits(attempts=2))
    assert path.read_bytes() == b"0123456"


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param([Answer(b"0123", headers={"Content-Length": "11"}, silent=True)], id="known"),
        pytest.param([Answer(b"0123456789a", silent=True)], id="of unknown length"),
        pytest.param([FIRST_FOUR, Answer(status=206, headers={"Content-Length": "7"})], id="part"),
        pytest.param([FIRST_FOUR, Answer(b"456789a", 206, silent=True)], id="part of unknown"),
    ],
)
def test_a_download_larger_than_allowed_is_refused_at_once(
    tmp_path: Path, server: ScriptedServer, answers: list[Answer]
) -> None:
    server.answers = [*answers]
    (tmp_path / "other.part").write_text("another download")
    with pytest.raises(SourceError) as error:
        download(f"{server.url}/a", tmp_path, limits(attempts=3, maximum_bytes=10))
    assert str(error.value) == "larger than fetch.maximum_bytes = 10"
    assert [path.name for path in tmp_path.iterdir()] == ["other.part"]


@pytest.mark.parametrize("answers", [[WHOLE], [FIRST_FOUR, LAST_SIX], [Answer(b"0123456789")]])
def test_a_download_as_large_as_allowed_arrives(
    tmp_path: Path, server: ScriptedServer, answers: list[Answer]
) -> None:
    server.answers = [*answers]
    path = download(f"{server.url}/a", tmp_path, limits(attempts=2, maximum_bytes=10))
    assert path.read_bytes() == b"0123456789"


@pytest.mark.parametrize(
    ("left", "answer", "needed"),
    [
        ({}, WHOLE, 10),
        ({"part": "0123", "validator": '"a"'}, LAST_SIX, 6),
        ({}, Answer(b"0123456789"), 0),
        ({"part": "0123", "validator": '"a"'}, Answer(b"456789", 206), 0),
    ],
    ids=["all", "the rest", "of unknown length", "the rest of unknown length"],
)
def test_a_download_begins_only_where_it_fits_on_the_disk(
    tmp_path: Path,
    server: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
    left: dict[str, str],
    answer: Answer,
    needed: int,
) -> None:
    url = f"{server.url}/a"
    leave(tmp_path, url, **left)

    def free(size: int) -> None:
        monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=size))

    if needed:
        free(needed - 1)
        server.answers = [answer]
        with pytest.raises(InputError) as error:
            download(url, tmp_path, limits())
        path = tmp_path / f"{name_of(url)}.part"
        expected = f"{path}: {needed} bytes or more needed, {needed - 1} free on its disk"
        assert str(error.value) == expected
    free(needed)
    server.answers = [answer]
    assert download(url, tmp_path, limits()).read_bytes() == b"0123456789"


def test_the_bar_shows_the_file_and_all_of_it(
    tmp_path: Path, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{server.url}/a/b.tar.gz"
    terminal = make_terminal(monkeypatch)
    leave(tmp_path, url, part="x" * 1000, validator='"a"')
    server.answers = [Answer(bytes(3000), 206, headers={"Content-Length": "3000"})]
    assert os.path.getsize(download(url, tmp_path, limits())) == 4000
    assert terminal.states[0].startswith("b.tar.gz:  25%|##5       | 1.00k/4.00k [")
    assert terminal.states[-1].startswith("b.tar.gz: 100%|##########| 4.00k/4.00k [")
