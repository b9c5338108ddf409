"""Which files of a folder are taken for pictures, and in which order."""

import os
from pathlib import Path
from typing import Any

import pytest

from tools.predict.search import files


def made(*names: str) -> None:
    """Make empty files, and the folders that they are in."""
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def found(*paths: str) -> list[str]:
    return [str(path) for path in files([Path(path) for path in paths])]


def test_files_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "deep/er").mkdir(parents=True)
    for name in ("b.png", "a.JPG", "deep/er/c.webp", "notes.txt", "deep/data.csv"):
        (tmp_path / name).touch()
    paths = [path.relative_to(tmp_path).as_posix() for path in files([tmp_path])]
    assert paths == ["a.JPG", "b.png", "deep/er/c.webp"]
    assert [*files([tmp_path / "notes.txt"])] == [tmp_path / "notes.txt"]


def test_a_folder_is_sorted_by_the_parts_of_names(folder: Path) -> None:
    made("b.png", "a-b/1.png", "a/2.png", "a/10.png", "a.png", "B.png", "é.png", "c/z/1.png")
    expected = ["B.png", "a/10.png", "a/2.png", "a-b/1.png", "a.png", "b.png", "c/z/1.png", "é.png"]
    assert found(".") == expected


def test_arguments_keep_their_order(folder: Path) -> None:
    made("z/2.png", "z/1.png", "a/3.png", "notes.txt")
    expected = ["z/1.png", "z/2.png", "notes.txt", "none.png", "a/3.png", "z/1.png"]
    assert found("z", "notes.txt", "none.png", "a", "z/1.png") == expected


PICTURES = ["a.png", "a.PnG", "a.jpeg", "a.gif", "a.tif", "a.webp", "a.b.bmp", "x.png/a.png"]
PICTURES += [".hidden.png", ".hidden/a.png", "_.png", ".a._.png"]
# Of PDF, Pillow only writes; "._a.png" macOS leaves beside "a.png".
OTHERS = ["a.txt", "png", ".png", "a", "a.png.txt", "a.pdf", "a.png~", "._a.png", "x/._a.png"]


@pytest.mark.parametrize("name", PICTURES)
def test_what_is_taken_for_a_picture(folder: Path, name: str) -> None:
    made(f"pictures/{name}")
    assert found("pictures") == [f"pictures/{name}"]


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_not_taken_for_a_picture(folder: Path, name: str) -> None:
    made(f"pictures/{name}")
    assert found("pictures") == []
    assert found(f"pictures/{name}") == [f"pictures/{name}"]


def test_links_are_followed_and_no_folder_is_listed_twice(folder: Path) -> None:
    made("inside/a.png", "elsewhere/b.png", "inside/deep/c.png")
    Path("inside/linked").symlink_to("../elsewhere")
    Path("inside/linked/again").symlink_to("../inside")
    Path("inside/deep/up").symlink_to("..")
    Path("inside/dangling.png").symlink_to("nowhere")
    Path("inside/file.png").symlink_to("../elsewhere/b.png")
    names = ["a.png", "dangling.png", "deep/c.png", "file.png", "linked/b.png"]
    assert found("inside") == [f"inside/{name}" for name in names]


def test_a_folder_that_is_named_twice_is_listed_twice(folder: Path) -> None:
    made("pictures/a.png")
    Path("link").symlink_to("pictures")
    assert found("link", "pictures") == ["link/a.png", "pictures/a.png"]


def test_of_several_links_the_first_name_is_listed(folder: Path) -> None:
    """Not the one that the file system has first."""
    made("elsewhere/a.png")
    Path("inside").mkdir()
    for number in (5, 3, 8, 6, 9, 1, 7, 0, 4, 2):
        Path(f"inside/link{number}").symlink_to("../elsewhere")
    assert found("inside") == ["inside/link0/a.png"]


def test_a_folder_that_cannot_be_listed_stands_for_its_files(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made("all/a.png", "all/locked/b.png", "all/z.png")
    scandir = os.scandir

    def refusing(path: Any) -> Any:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    assert found("all") == ["all/a.png", "all/locked", "all/z.png"]
