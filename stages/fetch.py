"""Brings CIFAR-10's published batch files to data/raw, from the first source that delivers them.

Whatever the source and its encoding, what counts is the content: each batch file is known by its
pinned SHA-256, so no mirror needs to be trusted. See docs/data.md.
"""

import hashlib
import shutil
import sys
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from pipeline.common.config import Fetch
from pipeline.common.params import read_params
from pipeline.common.paths import DOWNLOADS, PARAMS, RAW
from pipeline.common.shell import UserError, check_room, one_line, run_stage, write_atomically
from pipeline.data import cifar10
from pipeline.data.archives import batches
from pipeline.data.download import SourceError, StallError, download, pack


def main() -> None:
    params = read_params()
    files: dict[str, bytes] = {}
    told = f"nothing to fetch: dataset.name = {params.dataset.name}"
    if params.dataset.name == "cifar10":
        DOWNLOADS.mkdir(parents=True, exist_ok=True)
        # Better known before a download than after it.
        check_room(RAW, cifar10.BATCH_BYTES * len(cifar10.SHA256))
        files = from_sources(params.fetch) | {cifar10.META_FILE: cifar10.META.encode()}
        told = f"{len(cifar10.SHA256)} batch files verified in {RAW}"
    # Beside the old ones first, which stay where a write fails.
    new = DOWNLOADS / "raw"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    for name, content in files.items():
        write_atomically(new / name, content)
    shutil.rmtree(RAW, ignore_errors=True)
    new.rename(RAW)
    shutil.rmtree(DOWNLOADS, ignore_errors=True)
    print(told)


def from_sources(limits: Fetch) -> dict[str, bytes]:
    """Return the published batch files by name, or raise a UserError that says why none came."""
    found: dict[str, bytes] = {}
    tried = ""
    for source in limits.sources:
        for location in source:
            shown = one_line(location)
            print(f"fetching {shown}", flush=True)
            reason = collect(location, limits, found)
            tried += f"  {shown}: {reason or 'delivered, but not all'}\n"
            if reason:
                print(f"failed: {shown}: {reason}", file=sys.stderr)
                break
        missing = sorted(cifar10.SHA256.keys() - found.keys())
        if not missing:
            return found
    raise UserError(
        f"no source delivered {', '.join(missing)}. Tried:\n{tried}"
        f"To use an archive on disk, put its path first under fetch.sources in {PARAMS},\n"
        "for example /data/cifar-10-binary.tar.gz; docs/data.md lists what is accepted."
    )


def collect(location: str, limits: Fetch, found: dict[str, bytes]) -> str:
    """Add to `found` the batch files at `location`; return why it does not deliver, or nothing."""
    folder = DOWNLOADS / hashlib.sha256(location.encode()).hexdigest()[:16]
    reason = ""
    try:
        names = []
        for content in batches(bring(location, folder, limits)):
            names.append(cifar10.recognize(content))
            if names[-1]:
                found[names[-1]] = content
        if bad := names.count(None):
            reason = f"{bad} batch files are not the published ones (SHA-256 differs)"
        elif not names:
            reason = "holds no batch file of CIFAR-10's binary version (pickles are never opened)"
    except UserError:
        raise
    except StallError as error:
        # What there is of it stays, for the next run to resume.
        return one_line(error)
    except Exception as error:
        # Each library has exceptions of its own for a damaged archive, a bad URL, or a setting
        # that only this source heeds. The next source may do.
        reason = one_line(error)
    shutil.rmtree(folder, ignore_errors=True)
    return reason


def bring(location: str, folder: Path, limits: Fetch) -> Path:
    """Return the path of what a URL, npm:name@version or a path names, downloaded to `folder`."""
    url = urlsplit(location)
    if url.scheme in ("http", "https"):
        return download(location, folder, limits)
    if url.scheme == "npm":
        return pack(location.partition(":")[2], folder, limits)
    path = Path(url2pathname(url.path) if url.scheme == "file" else location).expanduser()
    if not path.exists():
        raise SourceError("no such file or folder, nor an http(s), file or npm location")
    return path


if __name__ == "__main__":
    run_stage(main, __doc__)
