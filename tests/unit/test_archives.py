"""The archives in which batch files come: every form yields them whole and in order."""

import gzip
import io
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from stages.fetch.archives import LimitedStream, batches
from stages.fetch.transfer import SourceError
from tests.archives import add, png
from tests.unit.small_batches import BATCHES, NAMES, laid_out, package, parquet, tar

pytestmark = pytest.mark.usefixtures("small")

FIRST, SECOND, *_ = BATCHES.values()
NO_PICKLES = "its batches are pickles, which are never opened; use the binary version"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a file that is not there yet."""
    return tmp_path / "archive"


def failure(path: Path, before: list[bytes] | None = None) -> str:
    """Return what is wrong with an archive, after the batches `before`."""
    found: list[bytes] = []
    with pytest.raises(SourceError) as error:
        found.extend(batches(path))
    assert found == (before or [])
    return str(error.value)


def fill(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Return a new folder with files by name."""
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def linked(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Return a new folder of links to files."""
    target = fill(folder.with_name("target"), files)
    folder.mkdir()
    for name in files:
        (folder / name).symlink_to(target / name)
    return folder


OTHERS = {"readme.html": b"<html>", "almost": bytes(4 * 3073 - 1), "too long": bytes(4 * 3073 + 1)}


@pytest.mark.parametrize("make", [fill, linked])
def test_a_folder_gives_its_batch_files_by_name(path: Path, make: object) -> None:
    files = dict(reversed((BATCHES | OTHERS).items()))
    folder = make(path, files)  # type: ignore[operator]
    (folder / "folder").mkdir()
    assert [*batches(folder)] == [*BATCHES.values()]


def test_a_folder_as_large_as_a_batch_file_is_none(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.mkdir()
    (path / "folder").mkdir()
    monkeypatch.setattr("stages.fetch.archives.BATCH_BYTES", (path / "folder").stat().st_size)
    assert [*batches(path)] == []


@pytest.mark.parametrize("members", [NAMES, NAMES[::-1], ("a/b", "c.png", ".d")], ids=len)
@pytest.mark.parametrize("mode", ["w", "w:gz"])
@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_a_tar_gives_its_batch_files_in_its_order(
    path: Path,
    members: tuple[str, ...],
    mode: str,
    form: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A batch file is known by its size, whatever its name."""
    monkeypatch.setattr("tarfile.TarFile.format", form)
    contents = {f"cifar-10-batches-bin/{name}": BATCHES.get(name, FIRST) for name in members}
    path.write_bytes(tar(OTHERS | contents | {"last": b"x"}, mode))
    assert [*batches(path)] == [*contents.values()]


def test_a_batch_file_by_itself(path: Path) -> None:
    path.write_bytes(SECOND)
    assert [*batches(path)] == [SECOND]


def test_a_package_of_pictures(path: Path) -> None:
    path.write_bytes(package())
    assert [*batches(path)] == [*BATCHES.values()]


def test_a_parquet_file(path: Path) -> None:
    path.write_bytes(parquet("test_batch.bin", "data_batch_1.bin"))
    assert [*batches(path)] == [BATCHES["test_batch.bin"], FIRST]


def test_pictures_and_labels_are_known_by_their_names(path: Path) -> None:
    pixels = np.arange(4 * 1024 * 3, dtype="u2").astype("u1").reshape(4, 1024, 3)
    labels = [3, 1, 4, 1]
    names = ("data_batch_0", "data_batch_6", "data_batch_10", "a_test_batch", "data_batch_1.png")
    others = {f"{name}.png": b"not a picture" for name in names} | {
        "data_batch_1.png/a": b"not a picture",
        "Test_batch.png": b"not a picture",
        "test_batchxpng": b"not a picture",
        "pretrain_labels.json": b"not a list",
        "train.json": b"not a list",
        "train_labels.json.old": b"not a list",
        "test_images.json": b"not a list",
        "train_la.json": b"not a list",
    }
    contents = {"a/test_batch.png": png(pixels), "b/test_labels.json": b"[3, 1, 4, 1]"}
    path.write_bytes(tar(others | contents))
    assert [*batches(path)] == [laid_out(pixels.reshape(4, 32, 32, 3), labels)]


def test_damaged_pictures_and_labels_are_named(path: Path) -> None:
    path.write_bytes(tar({"a/data_batch_2.png": png(np.zeros((3, 5, 3), "u1"))}))
    assert failure(path) == "data_batch_2.png: a picture of 5 x 3 RGB, not 1024 x 4 RGB"
    path.write_bytes(tar({"a/train_lables.json": b"[0, 10]"}))
    assert failure(path) == "train_lables.json: labels from 0 to 10; allowed are 0 to 9"
    path.write_bytes(tar({"a/data_batch_2.png": png(np.zeros((4, 1024, 3), "u1"))}))
    assert failure(path) == "data_batch_2.png: 0 labels for 4 images"


def test_what_is_no_file_is_passed_over(path: Path) -> None:
    """Links could lead anywhere, and devices never end."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for number, kind in enumerate(
            (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE)
        ):
            member = tarfile.TarInfo(f"{number}/test_batch.png")
            member.type, member.linkname = kind, "/etc/hostname"
            archive.addfile(member)
        add(archive, "last", FIRST)
    path.write_bytes(file.getvalue())
    assert [*batches(path)] == [FIRST]


PICKLES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]


@pytest.mark.parametrize("pickle", PICKLES)
def test_pickles_are_refused(path: Path, tmp_path: Path, pickle: str) -> None:
    path.write_bytes(tar({f"cifar-10-batches-py/{pickle}": b"x", "data_batch_9": b""}, "w:gz"))
    assert failure(path) == NO_PICKLES
    # What may be read is, and judged by its content.
    path.write_bytes(tar({f"a/{pickle}": b"x", "a/b": FIRST, "a/c": b"x"}))
    assert failure(path, [FIRST]) == NO_PICKLES
    folder = fill(tmp_path / "folder", {pickle: b"x", "b": FIRST, "batches.meta": b""})
    assert failure(folder, [FIRST]) == NO_PICKLES
    (folder / "test_batch.bin").write_bytes(SECOND)
    assert [*batches(folder)] == [FIRST, SECOND]


@pytest.mark.parametrize(
    "name", ["data_batch_0", "data_batch_6", "batches.meta", "data_batch_1.py"]
)
def test_other_names_are_no_pickles(path: Path, tmp_path: Path, name: str) -> None:
    path.write_bytes(tar({f"a/{name}": b"x"}))
    assert [*batches(path)] == []
    assert [*batches(fill(tmp_path / "folder", {name: b"x"}))] == []


def test_the_name_of_pickles_alone_says_nothing_about_what_is_below(path: Path) -> None:
    path.write_bytes(tar({"data_batch_1/a": FIRST}))
    assert [*batches(path)] == [FIRST]


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_no_more_is_unpacked_than_allowed(
    path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = {"batch": FIRST, "zeros": bytes(20_000)}
    size = len(tar(members))
    path.write_bytes(tar(members, mode))
    monkeypatch.setattr("stages.fetch.archives.UNPACKED_LIMIT", size)
    assert [*batches(path)] == [FIRST]
    monkeypatch.setattr("stages.fetch.archives.UNPACKED_LIMIT", size - 1)
    assert failure(path, [FIRST]) == f"unpacks to more than {size - 1} bytes"
    monkeypatch.setattr("stages.fetch.archives.UNPACKED_LIMIT", 10_000)
    assert failure(path) == "unpacks to more than 10000 bytes"


def test_a_tar_of_all_batch_files_is_allowed_to_unpack() -> None:
    """They are 184,380,000 bytes; not much more than 500 MB are taken from any archive."""

    class Endless(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            return zeros

    zeros = bytes(1 << 20)
    stream = LimitedStream(Endless())  # type: ignore[arg-type]
    for _ in range(512):
        assert stream.read(1 << 20) is zeros
    with pytest.raises(SourceError) as error:
        stream.read(1 << 20)
    assert str(error.value) == "unpacks to more than 536870912 bytes"


def test_a_stream_gives_what_it_is_asked_for() -> None:
    stream = LimitedStream(io.BytesIO(b"0123456789"))
    assert stream.read(4) == b"0123"
    assert stream.read() == b"456789"
    assert stream.read() == b""


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        (b"<!DOCTYPE html><title>", "b'<!DOCTYPE html><'"),
        (b"", "b''"),
        (b"PAR2", "b'PAR2'"),
        (b"\x1f\x8c\n", r"b'\x1f\x8c\n'"),
        (bytes(256) + b"ustar" + bytes(300), repr(bytes(16))),
        (bytes(258) + b"ustar" + bytes(300), repr(bytes(16))),
        (FIRST[:-1], repr(FIRST[:16])),
    ],
    ids=["page", "empty", "PAR2", "almost gzip", "tar too early", "tar too late", "cut off"],
)
def test_a_file_of_no_known_form(path: Path, content: bytes, shown: str) -> None:
    path.write_bytes(content)
    assert failure(path) == f"neither tar nor Parquet; it begins with {shown}"


@pytest.mark.parametrize(
    ("content", "batches_before", "reason"),
    [
        (
            tar(BATCHES, "w:gz")[:30_000],
            2,
            "damaged archive: Compressed file ended before the end-of-stream marker was reached",
        ),
        (tar(BATCHES)[:30_000], 2, "damaged archive: unexpected end of data"),
        (gzip.compress(b"no tar at all"), 0, "damaged archive: truncated header"),
        (
            b"\x1f\x8b\x07" + tar(BATCHES, "w:gz")[3:],
            0,
            "not readable: Unknown compression method",
        ),
    ],
    ids=["gzip cut off", "tar cut off", "no tar inside", "another compression"],
)
def test_a_damaged_archive(path: Path, content: bytes, batches_before: int, reason: str) -> None:
    path.write_bytes(content)
    assert failure(path, [*BATCHES.values()][:batches_before]) == reason


def test_an_archive_that_is_wrongly_compressed(path: Path) -> None:
    """Either tarfile or zlib finds out, by where the damage is and by Python's version."""
    reason = "Error -3 while decompressing data: invalid block type"
    for good in (0, 11_000, 30_000):
        compressor = zlib.compressobj(wbits=31)
        begin = compressor.compress(tar(BATCHES)[:good]) + compressor.flush(zlib.Z_FULL_FLUSH)
        path.write_bytes(begin + b"\xff" * 20)
        with pytest.raises(SourceError) as error:
            [*batches(path)]
        assert str(error.value).removeprefix("damaged archive: ") in (
            reason,
            f"zlib error: {reason}",
        )


def test_a_file_that_cannot_be_opened(path: Path) -> None:
    path.symlink_to(path)
    assert failure(path) == "not readable: Too many levels of symbolic links"
    assert failure(path / "a" / "b") == "not readable: Too many levels of symbolic links"
    assert failure(path.with_name("absent")) == "not readable: No such file or directory"
