"""The stage fetch as a whole: the order of its sources, what it leaves in data, what it says."""

import os
from pathlib import Path
from unittest.mock import Mock

import pytest

from pipeline.common.shell import UserError
from stages.fetch import main
from tests.archives import BATCHES, NAMES, parquet, tar
from tests.project import Params, write_params
from tests.servers import Answer, Server
from tests.unit.disk import NO_SPACE, leave_free

Captured = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch
pytestmark = pytest.mark.usefixtures("small", "folder")

ALL = tar(BATCHES)
META = b"airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n"
PUBLISHED = {f"raw/{name}": content for name, content in BATCHES.items()}
PUBLISHED |= {"raw/batches.meta.txt": META}


def fetch(params: Params, *sources: str | list[str]) -> None:
    params["fetch"] |= {"sources": [*sources], "attempts": 1}
    write_params(Path(), params)
    main()


def failure(params: Params, *sources: str | list[str]) -> str:
    with pytest.raises(UserError) as error:
        fetch(params, *sources)
    return str(error.value)


def in_data() -> dict[str, bytes]:
    paths = [path for path in Path("data").rglob("*") if path.is_file()]
    return {path.relative_to("data").as_posix(): path.read_bytes() for path in paths}


def make(path: str, *names: str, **others: bytes) -> None:
    Path(path).write_bytes(tar({name: BATCHES[name] for name in names} | others))


@pytest.mark.parametrize(
    "location",
    ["a b%41.tar", "{folder}/a b%41.tar", "file://{folder}/a%20b%2541.tar", "~/a b%41.tar"],
)
def test_a_file_on_disk(
    params: Params, folder: Path, capsys: Captured, monkeypatch: Patch, location: str
) -> None:
    monkeypatch.setenv("HOME", str(folder))
    location = location.format(folder=folder)
    make("a b%41.tar", *NAMES)
    fetch(params, location, "never tried")
    assert in_data() == PUBLISHED
    assert Path("a b%41.tar").read_bytes() == ALL
    out, err = capsys.readouterr()
    assert (location in out, err) == (True, "")


def test_what_was_delivered_counts_whatever_follows(params: Params, capsys: Captured) -> None:
    """Neither a failure nor a part of the batches keeps what is good from being used."""
    Path("part.parquet").write_bytes(parquet(NAMES[1]))
    make("bad.tar", NAMES[0], NAMES[2], bad=bytes(4 * 3073))
    make("last.tar", *NAMES[3:5])
    make("test.tar", NAMES[5])
    fetch(params, "part.parquet", ["bad.tar", "never"], ["last.tar", "test.tar"], "never")
    assert in_data() == PUBLISHED
    out, err = capsys.readouterr()
    assert out.split()[1:8:2] == ["part.parquet", "bad.tar", "last.tar", "test.tar"]
    assert err == "failed: bad.tar: 1 batch files are not the published ones (SHA-256 differs)\n"


def test_every_way_to_fail_takes_a_line_and_leads_to_the_next_source(
    params: Params, capsys: Captured, server: Server, monkeypatch: Patch
) -> None:
    make("foreign.tar", x=b"x")
    make("part.tar", NAMES[5])
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere.pem")
    ways = {
        "absent\n1": "no such file",
        "http://[bad/x": "Invalid IPv6 URL",
        "https://127.0.0.1:9/x": "/nowhere.pem",
        "~nobody-of-this-name/x": "home directory",
        "foreign.tar": "no batch file of CIFAR-10",
        f"{server.url}/a": "HTTP 404",
    }
    server.answers = [Answer(status=404)]
    first, *tried = failure(params, "part.tar", *ways).splitlines()
    assert first == f"no source delivered {', '.join(NAMES[:5])}. Tried:"
    assert tried[0] == "  part.tar: delivered, but not all"
    lines = capsys.readouterr().err.splitlines()
    for line, shown, reason in zip(lines, tried[1 : 1 + len(ways)], ways.values(), strict=True):
        assert line.startswith("failed: ")
        assert line.isprintable()
        assert reason in line
        assert shown == line.replace("failed:", " ")


def test_data_raw_is_replaced_whole_and_only_by_what_is_good(params: Params) -> None:
    before = {"raw/folder/stray": b"x", f"raw/{NAMES[0]}": b"of before", "own": b"the user's"}
    # What a run that was killed has left.
    before |= {f".unfinished-downloads/raw/{NAMES[0]}": b""}
    for name, content in before.items():
        Path("data", name).parent.mkdir(parents=True, exist_ok=True)
        Path("data", name).write_bytes(content)
    make("a.tar", *NAMES[:5])
    failure(params, "a.tar")
    assert in_data() == before
    make("a.tar", *NAMES)
    fetch(params, "a.tar")
    assert in_data() == PUBLISHED | {"own": b"the user's"}
    assert {path.name for path in Path("data").iterdir()} == {"raw", "own"}


def test_downloads_go_once_read(params: Params, server: Server) -> None:
    whole = {"Content-Length": str(len(ALL))}
    server.answers = [Answer(ALL[:20_000], headers=whole), Answer(ALL[20_000:], 206)]
    url = f"{server.url}/a.tar"
    failure(params, url)
    # Unfinished; the next run resumes it.
    fetch(params, "absent", url)
    assert server.asked("Range") == [None, "bytes=20000-"]
    # A bad one must not be resumed.
    server.answers = [Answer(b"bad"), Answer(ALL, headers=whole)]
    failure(params, url)
    fetch(params, url)
    assert server.asked("Range")[2:] == [None, None]
    assert os.listdir("data") == ["raw"]


def test_a_full_disk_ends_the_stage_and_leaves_what_was_there(
    params: Params, monkeypatch: Patch, capsys: Captured
) -> None:
    """Known before anything is downloaded, or found out while writing."""
    make("a.tar", *NAMES)
    fetch(params, "a.tar")
    capsys.readouterr()
    room = 6 * len(BATCHES[NAMES[0]])
    leave_free(monkeypatch, room - 1)
    assert failure(params, "a.tar").startswith(f"data/raw: {room:,} bytes needed, ")
    assert capsys.readouterr().out == ""
    leave_free(monkeypatch, room)
    monkeypatch.setattr("stages.fetch.write_atomically", Mock(side_effect=NO_SPACE))
    with pytest.raises(OSError, match="No space left on device"):
        fetch(params, "a.tar")
    assert PUBLISHED.items() <= in_data().items()
