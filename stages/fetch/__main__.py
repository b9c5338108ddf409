"""Brings CIFAR-10's published batch files to data/raw, from the first source that delivers them.

Whatever the source and its encoding, what counts is the content: each batch file is recognized by
its pinned SHA-256, so no mirror needs to be trusted. See README.md, "Where the data comes from".
"""

import os
import shutil
import sys
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from stages.cifar10 import BATCH_BYTES, META, META_FILE, SHA256, recognize
from stages.errors import InputError, exit_with_message
from stages.fetch.archives import batches
from stages.fetch.npm import pack
from stages.fetch.params import FetchParams
from stages.fetch.transfer import SourceError
from stages.fetch.web import download
from stages.files import replace, room_for
from stages.params import read

RAW = Path("data/raw")
# Not an out: an unfinished download survives here, so that the next run goes on from it.
DOWNLOADS = Path("data/downloads")


def bring(location: str, params: FetchParams) -> Path:
    """Give the path of what `location` (a URL, npm:name@version or a path) names, downloaded."""
    scheme, rest = urlsplit(location).scheme, location.partition(":")[2]
    if scheme in ("http", "https"):
        return download(location, DOWNLOADS, params)
    if scheme == "npm":
        return pack(rest, DOWNLOADS, params)
    path = Path(url2pathname(urlsplit(location).path) if scheme == "file" else location)
    if not path.exists():
        raise SourceError("no such file or folder")
    return path


def collect(location: str, params: FetchParams, found: dict[str, bytes]) -> None:
    """Add to `found` the batch files at `location`, each under its published name."""
    path = bring(location, params)
    try:
        unknown = 0
        for content in batches(path):
            name = recognize(content)
            if name is None:
                unknown += 1
            else:
                found[name] = content
        if unknown:
            raise SourceError(f"{unknown} batch files are not the published ones (SHA-256 differs)")
    finally:
        # Read and judged: a good download is not needed any more, a bad one must not be resumed.
        if path.is_relative_to(DOWNLOADS):
            for part in DOWNLOADS.glob(f"{path.stem}.*"):
                part.unlink()


def from_sources(params: FetchParams) -> dict[str, bytes]:
    """Give the six published batch files by name, trying the sources in their order.

    Raises:
        InputError: no source delivered; the message says why each one failed.
    """
    found: dict[str, bytes] = {}
    failures = []
    for source in params.sources:
        locations = [source] if isinstance(source, str) else source
        for location in locations:
            try:
                print(f"fetching {location}", flush=True)
                collect(location, params, found)
            except SourceError as error:
                failures.append(f"{location}: {error}")
                print(f"failed: {failures[-1]}", file=sys.stderr, flush=True)
                break
        missing = sorted(SHA256.keys() - found.keys())
        if not missing:
            return found
    tried = "\n".join(f"  {failure}" for failure in failures)
    raise InputError(
        f"no source delivered {', '.join(missing)}. Tried:\n{tried}\n"
        "To use an archive on disk, put its path first under fetch.sources in params.yaml,\n"
        "for example /data/cifar-10-binary.tar.gz; README.md lists what is accepted."
    )


def publish(found: dict[str, bytes]) -> None:
    """Write the verified files aside, then move them to data/raw, where nothing else remains."""
    staging = DOWNLOADS / "verified"
    shutil.rmtree(staging, ignore_errors=True)
    RAW.mkdir(parents=True, exist_ok=True)
    contents = found | {META_FILE: META.encode()}
    for name, content in contents.items():
        replace(staging / name, content)
    for name in contents:
        os.replace(staging / name, RAW / name)
    for stray in set(RAW.iterdir()) - {RAW / name for name in contents}:
        shutil.rmtree(stray) if stray.is_dir() else stray.unlink()
    shutil.rmtree(DOWNLOADS)


def main() -> None:
    params = read("fetch", FetchParams)
    RAW.parent.mkdir(exist_ok=True)
    try:
        # Better known before a download than after it.
        with room_for(RAW, BATCH_BYTES * len(SHA256)):
            publish(from_sources(params))
    finally:
        if DOWNLOADS.exists() and not any(DOWNLOADS.iterdir()):
            DOWNLOADS.rmdir()
    print(f"{len(SHA256)} batch files verified in {RAW}")


if __name__ == "__main__":
    exit_with_message(main)
