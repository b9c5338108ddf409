"""The stage fetch as a whole: what it leaves in data, what it says, and which settings it takes."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stages.errors import InputError
from stages.fetch.__main__ import main
from stages.fetch.params import FetchParams
from stages.params import read
from tests.project import Params, write_params
from tests.unit.small_batches import BATCHES, NAMES

Captured = pytest.CaptureFixture[str]
Call = Callable[..., None]

META = "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n"


@pytest.fixture
def source(folder: Path, params: Params, small: None) -> Path:
    """Return a folder of small batch files, the only source."""
    source = folder / "source"
    source.mkdir()
    for number, content in enumerate(BATCHES.values()):
        (source / f"{number}").write_bytes(content)
    params["fetch"]["sources"] = ["source"]
    write_params(folder, params)
    return source


def files(folder: Path) -> dict[str, bytes]:
    """Return the content of each file in a folder, by its path."""
    paths = [path for path in folder.rglob("*") if not path.is_dir()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


PUBLISHED = {f"raw/{name}": content for name, content in BATCHES.items()} | {
    "raw/batches.meta.txt": META.encode()
}


def test_the_published_files_come_to_data_raw(
    call: Call, folder: Path, source: Path, capsys: Captured
) -> None:
    call(main)
    assert files(folder / "data") == PUBLISHED
    assert [path.name for path in (folder / "data").iterdir()] == ["raw"]
    assert len([*source.iterdir()]) == 6
    out, err = capsys.readouterr()
    assert out == "fetching source\n6 batch files verified in data/raw\n"
    assert err == ""


def test_nothing_else_remains(call: Call, folder: Path, source: Path) -> None:
    raw, downloads = folder / "data/raw", folder / "data/downloads"
    (raw / "folder/below").mkdir(parents=True)
    (raw / "folder/below/file").write_text("stray")
    (raw / "stray").write_text("stray")
    (raw / NAMES[0]).write_text("of before")
    (raw / "batches.meta.txt").write_text("of before")
    (raw / "link").symlink_to(source)
    (raw / "dangling").symlink_to("nowhere")
    (folder / "data/.unfinished-raw").mkdir()
    (folder / "data/.unfinished-raw/left").write_text("stray")
    (downloads / "npm-1/left").mkdir(parents=True)
    (downloads / "unfinished.part").write_text("not needed any more")
    (downloads / "unfinished.validator").write_text("not needed any more")
    (folder / "data/own").write_text("the user's")
    call(main)
    assert files(folder / "data") == PUBLISHED | {"own": b"the user's"}
    assert {path.name for path in raw.iterdir()} == {*NAMES, "batches.meta.txt"}
    assert {path.name for path in (folder / "data").iterdir()} == {"raw", "own"}
    # What a link leads to is not ours.
    assert len([*source.iterdir()]) == 6


def test_what_is_there_stays_when_no_source_delivers(
    call: Call, folder: Path, source: Path, capsys: Captured
) -> None:
    (folder / "data/raw").mkdir(parents=True)
    (folder / "data/raw/file").write_text("of before")
    (source / "3").unlink()
    with pytest.raises(InputError, match=r"^no source delivered data_batch_4\.bin\. Tried:\n"):
        call(main)
    assert files(folder / "data") == {"raw/file": b"of before"}
    assert capsys.readouterr().out == "fetching source\n"


def test_the_users_own_files_remain(call: Call, folder: Path, source: Path, params: Params) -> None:
    """Also beside unfinished downloads, on whatever disk that folder is."""
    elsewhere = folder / "elsewhere"
    source.rename(elsewhere)
    (elsewhere / "a.part").write_text("not needed any more")
    (folder / "data").mkdir()
    (folder / "data/downloads").symlink_to(elsewhere)
    params["fetch"]["sources"] = [f"data/downloads/{number}" for number in range(6)]
    write_params(folder, params)
    call(main)
    assert files(folder / "data/raw").keys() == {name.removeprefix("raw/") for name in PUBLISHED}
    assert sorted(path.name for path in elsewhere.iterdir()) == [*"012345"]


@pytest.mark.parametrize(("left", "remains"), [([], []), (["a.part"], ["downloads"])])
def test_the_folder_of_downloads_remains_for_an_unfinished_one(
    call: Call, folder: Path, source: Path, left: list[str], remains: list[str]
) -> None:
    (source / "3").unlink()
    (folder / "data/downloads").mkdir(parents=True)
    for name in left:
        (folder / "data/downloads" / name).write_text("unfinished")
    with pytest.raises(InputError):
        call(main)
    assert [path.name for path in (folder / "data").iterdir()] == remains
    assert [path.name for path in (folder / "data").glob("downloads/*")] == left


def test_there_must_be_room_before_anything_is_fetched(
    call: Call, folder: Path, params: Params, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    params["fetch"]["sources"] = ["absent"]
    write_params(folder, params)
    asked = []

    def free(size: int) -> None:
        def usage(path: Path) -> SimpleNamespace:
            asked.append(path)
            return SimpleNamespace(free=size)

        monkeypatch.setattr("shutil.disk_usage", usage)

    free(184_379_999)
    with pytest.raises(InputError) as error:
        call(main)
    assert str(error.value) == (
        "data/raw: 184,380,000 bytes or more needed, 184,379,999 free on its disk"
    )
    assert capsys.readouterr().out == ""
    free(184_380_000)
    with pytest.raises(InputError, match=r"^no source delivered"):
        call(main)
    assert capsys.readouterr().out == "fetching absent\n"
    assert asked == [Path("data"), Path("data")]


def test_a_disk_that_becomes_full_is_explained(
    call: Call, folder: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def usage(path: Path) -> SimpleNamespace:
        return SimpleNamespace(free=10**9)

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device", "data/raw")

    monkeypatch.setattr("shutil.disk_usage", usage)
    monkeypatch.setattr("os.replace", full)
    with pytest.raises(InputError) as error:
        call(main)
    assert str(error.value).endswith(" free on its disk at first: No space left on device")


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("attempts", [1, 20]),
        ("stall_seconds", [0.001, 1, 600]),
        ("minimum_rate", [1, 10**12]),
        ("maximum_bytes", [1, 10**12]),
        ("sources", [["a"], [["a", "b"], "c"]]),
    ],
)
def test_settings_that_are_allowed(
    folder: Path, params: Params, name: str, allowed: list[Any]
) -> None:
    for value in allowed:
        params["fetch"][name] = value
        write_params(folder, params)
        assert getattr(read("fetch", FetchParams), name) == value


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("attempts", 0, "attempts = 0: should be greater than or equal to 1"),
        ("attempts", 21, "attempts = 21: should be less than or equal to 20"),
        ("attempts", 1.0, "attempts = 1.0: should be a valid integer"),
        ("stall_seconds", 0, "stall_seconds = 0: should be greater than 0"),
        ("stall_seconds", 600.1, "stall_seconds = 600.1: should be less than or equal to 600"),
        ("minimum_rate", 0, "minimum_rate = 0: should be greater than or equal to 1"),
        ("maximum_bytes", 0, "maximum_bytes = 0: should be greater than or equal to 1"),
        (
            "sources",
            [],
            "sources = []: List should have at least 1 item after validation, not 0",
        ),
        ("retries", 3, "retries = 3: unknown key; allowed are "),
    ],
)
def test_settings_that_are_refused(
    call: Call, folder: Path, params: Params, name: str, value: object, reason: str
) -> None:
    params["fetch"][name] = value
    write_params(folder, params)
    with pytest.raises(InputError) as error:
        call(main)
    keys = "sources, attempts, stall_seconds, minimum_rate, maximum_bytes"
    expected = f"params.yaml: fetch.{reason}" + (keys if name == "retries" else "")
    assert str(error.value) == expected
    assert not Path("data").exists()


@pytest.mark.parametrize(
    ("sources", "key"),
    [
        ([""], "sources.0 = ''"),
        (["a", []], "sources.1 = []"),
        (["a", ["b", ""]], "sources.1.1 = ''"),
        ([1], "sources.0 = 1"),
        ("a", "sources = 'a'"),
    ],
    ids=str,
)
def test_sources_that_are_refused(
    call: Call, folder: Path, params: Params, sources: object, key: str
) -> None:
    params["fetch"]["sources"] = sources
    write_params(folder, params)
    with pytest.raises(InputError) as refused:
        call(main)
    assert f"params.yaml: fetch.{key}: " in str(refused.value)
    # What pydantic calls the members of a union.
    assert "str]" not in str(refused.value)
    assert "constrained" not in str(refused.value)
