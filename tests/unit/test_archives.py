"""The archives in which batch files come: every form gives them; damaged and foreign ones end."""

import tarfile
from pathlib import Path

import numpy as np
import pytest

from pipeline.data import archives
from pipeline.data.archives import batches
from pipeline.data.download import SourceError
from tests.archives import BATCHES, NAMES, package, parquet, png, table, tar

pytestmark = pytest.mark.usefixtures("small", "folder")

ALL = [*BATCHES.values()]
OTHERS = {"readme.html": b"<html>", "too short": ALL[0][1:], "too long": ALL[0] + b"x"}
FORMS = {
    "tar": tar(OTHERS | BATCHES),
    "gzip": tar(OTHERS | BATCHES, "w:gz"),
    # There may be more labels than images.
    "pictures": package(test_lables__json=b"[5, 8, 1, 4, 9]"),
    "Parquet": parquet(*NAMES),
}


def found(content: bytes) -> list[bytes]:
    Path("archive").write_bytes(content)
    return [*batches(Path("archive"))]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_published_bytes(form: str) -> None:
    assert found(FORMS[form]) == ALL


def test_a_folder_does_too() -> None:
    Path("folder/below").mkdir(parents=True)
    for name, content in (OTHERS | BATCHES).items():
        Path("folder", name).write_bytes(content)
    assert [*batches(Path("folder"))] == ALL


def test_neither_links_nor_devices_nor_pickles_are_read() -> None:
    """Links could lead anywhere, devices never end, and pickles run what they like."""
    others = [tarfile.TarInfo("a/test_batch.png") for _ in range(4)]
    kinds = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE)
    for member, kind in zip(others, kinds, strict=True):
        member.type, member.linkname = kind, "/etc/hostname"
    members = {"../outside": b"x", "/outside": b"x", "pickle": b"cos\nmkdir\n(S'made'\ntR."}
    assert found(tar(members | {"last": ALL[0]}, "w", *others)) == ALL[:1]
    assert [path.name for path in Path().iterdir()] == ["archive"]


# Of another size and mode; their pixels are missing, which are not to be decoded.
WIDE, GREY = (png(np.zeros(shape, "u1"))[:45] for shape in ((3, 5, 3), (32, 32)))
# By what is said of them.
DAMAGED = {
    "neither tar nor Parquet; it begins with b'<!DOCTYPE html><'": b"<!DOCTYPE html><title>",
    "ended before": FORMS["gzip"][:-1000],
    "unexpected end of data": FORMS["tar"][:60_000],
    "test_batch.png: .* 5 x 3 RGB, not 1024 x 4": package(test_batch__png=WIDE),
    "dimensions": package(test_lables__json=b"[5, 8, 1]"),
    "out of bounds": package(train_lables__json=b"[256]"),
    "(?i)parquet": parquet(NAMES[0])[:-9],
    "img": table(image=[{"bytes": b""}] * 4, label=[0] * 4),
    "img: .* 32 x 32 L, not 32 x 32 RGB": table(img=[{"bytes": GREY}] * 4, label=[0] * 4),
}


@pytest.mark.parametrize("reason", DAMAGED)
def test_a_damaged_or_foreign_archive_ends_in_an_exception(reason: str) -> None:
    with pytest.raises(Exception, match=reason):
        found(DAMAGED[reason])


@pytest.mark.parametrize("form", ["gzip", "Parquet"])
def test_no_more_is_unpacked_than_allowed(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert 6 * 30_730_000 < archives.UNPACKED_LIMIT < 10**9
    monkeypatch.setattr(archives, "UNPACKED_LIMIT", 10_000)
    with pytest.raises(SourceError, match="unpacks to more than 10000 bytes"):
        found(FORMS[form])
