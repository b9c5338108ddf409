"""Downloads over HTTP that resume where they broke, within one run and across runs."""

import hashlib
import re
import time
from pathlib import Path

import requests
import urllib3

from stages.fetch.params import FetchParams
from stages.fetch.transfer import SourceError, StallError, Transfer, refuse_above
from stages.files import room_for

CHUNK = 1 << 18
# What urllib3 begins a reason with: "HTTPConnection(host='a', port=80): Failed to ...".
FAILING_OBJECT = re.compile(r"^(<\S*HTTPS?Connection object at \w+>|HTTPS?Connection\w*\(.*?\)): ")
BROKEN = (requests.RequestException, urllib3.exceptions.HTTPError, StallError)


def download(url: str, folder: Path, limits: FetchParams) -> Path:
    """Bring what `url` serves into `folder`, going on from an unfinished download of before.

    Raises:
        SourceError: it is not served, too large, or no attempt came to its end.
    """
    target = folder / hashlib.sha256(url.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    for attempt in range(limits.attempts):
        if attempt:
            time.sleep(min(2**attempt / 2, 10))
        try:
            return _transfer(url, target, limits)
        except SourceError:
            # Refused for good, so what is here of it would only take up room.
            for part in folder.glob(f"{target.name}.*"):
                part.unlink()
            raise
        except BROKEN as error:
            reason = describe(error)
    attempts = "1 attempt" if limits.attempts == 1 else f"{limits.attempts} attempts"
    raise SourceError(f"{reason} ({attempts})")


def _transfer(url: str, target: Path, limits: FetchParams) -> Path:
    part, validator = target.with_suffix(".part"), target.with_suffix(".validator")
    headers = {"Accept-Encoding": "identity"}
    # If-Range: where the file on the server is another by now, it is sent whole (RFC 9110, 13.1.5).
    if part.exists() and validator.exists():
        headers |= {"Range": f"bytes={part.stat().st_size}-", "If-Range": validator.read_text()}

    timeout = limits.stall_seconds
    with requests.get(url, headers=headers, stream=True, timeout=timeout) as response:
        if response.status_code == 416:
            whole = f"bytes */{part.stat().st_size}" if "Range" in headers else None
            if whole and response.headers.get("Content-Range") == whole:
                return part
            part.unlink(missing_ok=True)
            validator.unlink(missing_ok=True)
            raise StallError("the server has less than what was downloaded before")
        if 400 <= response.status_code < 500 and response.status_code not in (408, 429):
            raise SourceError(f"HTTP {response.status_code} {response.reason}")
        response.raise_for_status()

        # A part that was not asked for is taken for the whole.
        resumed = response.status_code == 206 and "Range" in headers
        start = part.stat().st_size if resumed else 0
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdigit() else None
        refuse_above(limits.maximum_bytes, total or 0)
        if not start:
            part.unlink(missing_ok=True)
            # A weak ETag does not vouch for single bytes, so it cannot resume a download.
            tag = response.headers.get("ETag", "")
            tag = response.headers.get("Last-Modified", "") if not tag.startswith('"') else tag
            validator.write_text(tag) if tag else validator.unlink(missing_ok=True)

        with (
            room_for(part, (total or start) - start),
            part.open("ab") as file,
            Transfer(url.rsplit("/")[-1], limits, total, start) as bar,
        ):
            # read1 returns what has arrived; read would wait for a whole chunk at 1 byte a second.
            while chunk := response.raw.read1(CHUNK):
                file.write(chunk)
                bar.reach(bar.done + len(chunk))
        if total is not None and bar.done != total:
            raise StallError(f"broke off after {bar.done} of {total} bytes")
    return part


def describe(error: BaseException) -> str:
    """Return the innermost reason of an exception of requests or urllib3, in one line."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"HTTP {error.response.status_code} {error.response.reason}"
    match (getattr(error, "reason", None), *error.args):
        case [Exception() as inner, *_] | [_, Exception() as inner, *_]:
            return describe(inner)
        # The cause comes after the text where the text does not name it.
        case [_, str(text), Exception() as cause, *_]:
            shown = text if repr(cause) in text else f"{text.rstrip('.')}: {describe(cause)}"
        case _:
            shown = FAILING_OBJECT.sub("", str(error))
    return " ".join(shown.split()) or type(error).__name__
