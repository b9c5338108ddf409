"""Standard output: any file name can be printed, and a failure to write is told from a file's."""

import codecs
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

NAME = "standard output"


class Output(io.TextIOBase):
    """A stream whose OSErrors bear the name of standard output."""

    def __init__(self, stream: TextIO):
        """Take the stream that writes."""
        self._stream = stream

    def write(self, text: str) -> int:
        """Write `text`, or a part of it later."""
        with _named():
            return self._stream.write(text)

    def flush(self) -> None:
        """Write what is still here."""
        with _named():
            self._stream.flush()

    def isatty(self) -> bool:
        """Say whether it is a terminal."""
        return self._stream.isatty()


@contextmanager
def _named() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        error.filename = NAME
        raise


def _byte_or_escape(error: UnicodeError) -> tuple[bytes | str, int]:
    """Encode one character that an encoding lacks, as the protocol of `codecs` wants it.

    Python keeps a byte of a file name that is not valid as a lone surrogate (PEP 383): the byte
    itself is printed. Anything else is escaped.
    """
    assert isinstance(error, UnicodeEncodeError)
    character = ord(error.object[error.start])
    if 0xDC80 <= character <= 0xDCFF:
        return bytes([character - 0xDC00]), error.start + 1
    # The rest of a run of such characters may stand for bytes.
    error.end = error.start + 1
    return codecs.backslashreplace_errors(error)


codecs.register_error("byte_or_escape", _byte_or_escape)


@contextmanager
def printing() -> Iterator[None]:
    """Let the body print the names of files, byte by byte as they are on disk, whatever these are.

    Raises:
        OSError: what was printed cannot be written; the error's file name is NAME.
    """
    # Not sys.stdout, which importing DVC puts into a wrapper of its own.
    stream, before = sys.__stdout__, sys.stdout
    # There is none where the descriptor was closed before Python started.
    if not isinstance(stream, io.TextIOWrapper):
        yield
        return
    stream.reconfigure(encoding=sys.getfilesystemencoding(), errors="byte_or_escape")
    # Kept until the end: from Python 3.13 on, one that fails when it is dropped says so.
    sys.stdout = output = Output(stream)
    try:
        yield
    finally:
        sys.stdout = before
        try:
            output.flush()
        except OSError:
            # Python would try to write the rest once more when it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            raise
