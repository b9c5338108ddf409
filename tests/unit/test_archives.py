"""The archives in which batch files come: every form gives them; damaged and foreign ones end."""

import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.data import archives
from pipeline.data.archives import batches
from pipeline.data.download import SourceError
from tests.archives import BATCHES, NAMES, laid_out, package, parquet, png, table, tar

pytestmark = pytest.mark.usefixtures("small", "folder")

ALL = [*BATCHES.values()]
OTHERS = {"readme.html": b"<html>", "too short": ALL[0][1:], "too long": ALL[0] + b"x"}


def found(content: bytes) -> list[bytes]:
    Path("archive").write_bytes(content)
    return [*batches(Path("archive"))]


FORMS = {
    "tar": tar(OTHERS | BATCHES),
    "gzip": tar(OTHERS | BATCHES, "w:gz"),
    # There may be more labels than images.
    "pictures": package(test_lables__json=b"[5, 8, 1, 4, 9]"),
    "Parquet": parquet(*NAMES, rows_a_group=3),
    "Parquet in one group": parquet(*NAMES, rows_a_group=24),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_published_bytes(form: str) -> None:
    assert found(FORMS[form]) == ALL


def test_a_folder_and_a_single_file_do_too() -> None:
    Path("folder/below").mkdir(parents=True)
    for name, content in (OTHERS | BATCHES).items():
        Path("folder", name).write_bytes(content)
    assert [*batches(Path("folder"))] == ALL
    assert found(ALL[1]) == [ALL[1]]


def test_rows_beyond_a_whole_batch_are_left_out() -> None:
    images = np.arange(7, dtype="u1")[:, None, None, None] * np.ones((32, 32, 3), "u1")
    rows = [{"bytes": png(image)} for image in images]
    assert found(table(img=rows, label=[*range(7)])) == [laid_out(images[:4], [0, 1, 2, 3])]
    assert found(table(img=rows[:3], label=[0, 1, 2])) == []


def test_neither_links_nor_devices_nor_pickles_are_read() -> None:
    """Links could lead anywhere, devices never end, and pickles run what they like."""
    members: dict[str, bytes | tarfile.TarInfo] = {"../outside": b"x", "/outside": b"x"}
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
        member = tarfile.TarInfo("a/test_batch.png")
        member.type, member.linkname = kind, "/etc/hostname"
        members[repr(kind)] = member
    for name in NAMES:
        members[f"cifar-10-batches-py/{name[:-4]}"] = b"cos\nmkdir\n(S'made'\ntR."
    assert found(tar(members | {"last": ALL[0]})) == ALL[:1]
    assert [path.name for path in Path().iterdir()] == ["archive"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<!DOCTYPE html><title>", "neither tar nor Parquet; it begins with b'<!DOCTYPE html><'"),
        (FORMS["gzip"][:-1000], "ended before"),
        (FORMS["tar"][:60_000], "unexpected end of data"),
        (package(test_batch__png=png(np.zeros((3, 5, 3), "u1"))), r"test_batch.png: .* 5 x 3 RGB"),
        (package(test_lables__json=b"[5, 8, 1]"), "test_batch.png: 3 labels for 4 images"),
        (package(train_lables__json=b"[256]"), "out of bounds"),
        (parquet(NAMES[0])[:-9], "(?i)parquet"),
        (table(image=[{"bytes": b""}], label=[0]), "img"),
        (table(img=[{"bytes": png(np.zeros((32, 8, 3), "u1"))}], label=[0]), "8 x 32 RGB, not 32"),
    ],
    # The bytes are others in each process.
    ids=lambda value: value if isinstance(value, str) else "content",
)
def test_a_damaged_or_foreign_archive_ends_in_an_exception(content: bytes, reason: str) -> None:
    with pytest.raises(Exception, match=reason):
        found(content)


@pytest.mark.parametrize("form", ["gzip", "Parquet"])
def test_no_more_is_unpacked_than_allowed(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert 6 * 30_730_000 < archives.UNPACKED_LIMIT < 10**9
    monkeypatch.setattr(archives, "UNPACKED_LIMIT", 10_000)
    with pytest.raises(SourceError, match="unpacks to more than 10000 bytes"):
        found(FORMS[form])


@pytest.mark.parametrize(
    "picture", [Image.new("RGB", (5, 4)), Image.new("L", (3, 2))], ids=["RGB", "L"]
)
def test_a_picture_of_another_size_or_mode_is_not_decoded(picture: Image.Image) -> None:
    # Its pixels are missing.
    with pytest.raises(SourceError, match=r"a: a picture of .*, not 3 x 2 RGB"):
        archives.decode_png(png(np.asarray(picture))[:45], (3, 2), "a")
