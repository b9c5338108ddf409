"""Files that appear whole or not at all, and what is said of a full disk."""

import errno
import os
import resource
import shutil
from pathlib import Path

import numpy as np
import pytest

from stages.errors import InputError
from stages.files import replace, replacing, room_for
from tests.unit.disk import NO_SPACE, leave_free


def begin(path: Path, failure: Exception) -> None:
    """Write the first bytes of a file, and fail."""
    path.write_bytes(b"ne")
    raise failure


@pytest.mark.parametrize("size", [0, 999, 1000])
def test_what_fits_exactly_is_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    leave_free(monkeypatch, 1000)
    with room_for(folder / "big.bin", size):
        pass


def test_what_does_not_fit_is_refused_before(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_free(monkeypatch, 1234)
    ran = []
    with pytest.raises(InputError) as caught, room_for(Path("a/../big.bin").resolve(), 1235):
        ran.append(True)
    says = f"{folder}/big.bin: 1,235 bytes or more needed, 1,234 free on its disk"
    assert str(caught.value) == says
    assert ran == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_becomes_full_meanwhile_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    leave_free(monkeypatch, 4321)
    says = {errno.ENOSPC: "No space left on device", errno.EDQUOT: "Disk quota exceeded"}[code]
    with pytest.raises(InputError) as caught, room_for(Path("big.bin"), 20):
        raise OSError(code, says)
    assert str(caught.value) == (
        f"big.bin: 20 bytes or more needed, 4,321 free on its disk at first: {says}"
    )


def test_a_write_that_fails_names_the_file(folder: Path) -> None:
    """The operating system and NumPy do not."""
    limit, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(InputError) as caught:
            replace(Path("big.bin"), bytes(1001))
        with (
            pytest.raises(InputError) as caught_too,
            replacing(Path("array.npy"), 0) as path,
            path.open("wb") as file,
        ):
            np.save(file, np.zeros(1000), allow_pickle=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    assert str(caught.value) == "big.bin: File too large"
    assert str(caught_too.value).startswith("array.npy: ")
    assert [*folder.iterdir()] == []


def test_another_failure_to_write_stays_what_it_is(folder: Path) -> None:
    failure = PermissionError(errno.EACCES, "Permission denied", "other")
    with pytest.raises(PermissionError) as caught, room_for(Path("big.bin"), 20):
        raise failure
    assert caught.value is failure


def test_the_disk_asked_is_that_of_the_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "other disk").mkdir()
    usage = shutil.disk_usage(folder)

    def disk_usage(path: Path) -> object:
        return usage._replace(free=7 if path == Path("other disk") else 0)

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    with room_for(Path("other disk/file"), 7):
        pass


def test_a_file_appears_under_its_name_when_it_is_whole(folder: Path) -> None:
    path = folder / "one/two/file.txt"
    with replacing(path, 3) as unfinished:
        assert path.parent.is_dir()
        assert unfinished == folder / "one/two/.unfinished-file.txt"
        unfinished.write_bytes(b"new")
        assert not path.exists()
    assert [*path.parent.iterdir()] == [path]
    assert path.read_bytes() == b"new"


def test_who_has_the_old_file_open_goes_on_reading_it(folder: Path) -> None:
    path = folder / "file"
    path.write_bytes(b"old content")
    before = path.stat().st_ino
    with path.open("rb") as reader:
        assert reader.read(4) == b"old "
        replace(path, b"new")
        assert reader.read() == b"content"
    assert path.read_bytes() == b"new"
    assert path.stat().st_ino != before


def test_a_hard_link_keeps_the_old_content(folder: Path) -> None:
    """As DVC's cache may be one."""
    Path("file").write_bytes(b"old")
    os.link("file", "cached")
    replace(Path("file"), b"new")
    assert Path("cached").read_bytes() == b"old"


def test_a_failure_leaves_the_old_file_and_nothing_else(folder: Path) -> None:
    path = Path("file")
    path.write_bytes(b"old")
    with pytest.raises(KeyError), replacing(path, 3) as unfinished:
        begin(unfinished, KeyError())
    assert path.read_bytes() == b"old"
    assert [*folder.iterdir()] == [folder / "file"]


def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("file").write_bytes(b"old")
    leave_free(monkeypatch, 5)
    replace(Path("file"), b"12345")
    with pytest.raises(InputError) as caught:
        replace(Path("file"), b"123456")
    assert str(caught.value) == "file: 6 bytes or more needed, 5 free on its disk"
    with pytest.raises(InputError) as caught, replacing(Path("file"), 2) as unfinished:
        begin(unfinished, NO_SPACE)
    assert str(caught.value) == (
        "file: 2 bytes or more needed, 5 free on its disk at first: No space left on device"
    )
    assert Path("file").read_bytes() == b"12345"
    assert [path.name for path in folder.iterdir()] == ["file"]


def test_a_folder_is_not_replaced(folder: Path) -> None:
    (folder / "taken").mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        replace(Path("taken"), b"new")
    assert (caught.value.filename, caught.value.strerror) == ("taken", "Is a directory")
    assert caught.value.errno == errno.EISDIR
    assert [path.name for path in folder.iterdir()] == ["taken"]
