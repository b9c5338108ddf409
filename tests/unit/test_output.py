"""Standard output: every byte of a file name, and what cannot be written."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path
from typing import TextIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.errors import exit_with_message
from stages.output import Output, printing


@contextmanager
def standard_output(stream: TextIO | None) -> Iterator[None]:
    """Let a stream be standard output, and no longer: whoever runs the tests prints, too."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(sys, "__stdout__", stream)
        yield


def printed(text: str, encoding: str = "utf-8", end: str = "") -> bytes:
    """Return what is written where `text` is printed and file names are in an encoding."""
    content = BytesIO()
    with standard_output(TextIOWrapper(content, encoding="ascii")):
        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setattr(sys, "getfilesystemencoding", lambda: encoding)
            with printing():
                print(text, end=end)
        return content.getvalue()


@given(st.binary())
def test_name_of_a_file_is_printed_byte_by_byte(name: bytes) -> None:
    assert printed(os.fsdecode(name), end="\n") == name + b"\n"


@pytest.mark.parametrize(
    ("text", "encoding", "content"),
    [
        ("caf\udce9 Ü\n", "utf-8", b"caf\xe9 \xc3\x9c\n"),
        ("caf\udce9 Ü", "latin-1", b"caf\xe9 \xdc"),
        ("caf\udce9 Ü✓\udce9", "ascii", b"caf\xe9 \\xdc\\u2713\xe9"),
        # The first and the last that stands for a byte, and their neighbours.
        ("a\udc80\udcffb", "utf-8", b"a\x80\xffb"),
        ("a\udc7f\udd00b", "utf-8", b"a\\udc7f\\udd00b"),
        ("\udce9\ud800\udce9x", "utf-8", b"\xe9\\ud800\xe9x"),
    ],
)
def test_what_an_encoding_lacks(text: str, encoding: str, content: bytes) -> None:
    assert printed(text, encoding) == content


@pytest.fixture
def full() -> Iterator[TextIO]:
    """Return a stream into a device without room."""
    with Path("/dev/full").open("w") as stream, Path(os.devnull).open("w") as other:
        yield stream
        os.dup2(other.fileno(), stream.fileno())


@pytest.mark.parametrize("count", [1, 100_000], ids=["on flush", "on write"])
def test_full_output(full: TextIO, capsys: pytest.CaptureFixture[str], count: int) -> None:
    seen: list[bool] = []

    def main() -> None:
        try:
            for _ in range(count):
                print("line")
        finally:
            seen.append(sys.stdout is not before)

    before = sys.stdout
    with pytest.raises(SystemExit) as left, standard_output(full):
        exit_with_message(main)
    assert left.value.code == 2
    assert capsys.readouterr().err == "error: standard output: No space left on device\n"
    assert seen == [True]
    assert sys.stdout is before
    # When it ends, Python writes the rest once more, which goes nowhere now.
    full.flush()


def test_reader_that_is_gone(capsys: pytest.CaptureFixture[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with (
        os.fdopen(writer, "w") as stream,
        pytest.raises(SystemExit) as left,
        standard_output(stream),
    ):
        exit_with_message(lambda: print("line"))
    assert left.value.code == 128 + 13
    assert capsys.readouterr() == ("", "")


def test_flush_is_standard_output_s(full: TextIO) -> None:
    output = Output(full)
    assert output.write("caf\u00e9") == 4
    with pytest.raises(OSError, match="No space left") as caught:
        output.flush()
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, "standard output")


def test_print_can_flush() -> None:
    content = BytesIO()
    stream = TextIOWrapper(content)
    with standard_output(stream), printing():
        print("first", flush=True)
        assert content.getvalue() == b"first\n"
        print("second")
    assert content.getvalue() == b"first\nsecond\n"


def test_file_s_own_error_keeps_its_name(folder: Path) -> None:
    stream = TextIOWrapper(BytesIO())
    with standard_output(stream), pytest.raises(FileNotFoundError) as caught, printing():
        Path("absent").read_bytes()
    assert caught.value.filename == "absent"


@pytest.mark.parametrize("is_terminal", [True, False])
def test_terminal_is_known_as_such(monkeypatch: pytest.MonkeyPatch, is_terminal: bool) -> None:
    stream = StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: is_terminal)
    assert Output(stream).isatty() is is_terminal


@pytest.mark.parametrize("absent", [None, StringIO()], ids=["closed", "another stream"])
def test_output_that_is_not_there(
    capsys: pytest.CaptureFixture[str], absent: TextIO | None
) -> None:
    before = sys.stdout
    with standard_output(absent), printing():
        assert sys.stdout is before
        print("line")
    assert capsys.readouterr() == ("line\n", "")
