"""Brings CIFAR-10's published batch files to data/raw, from the first source that delivers them.

Whatever the source and its encoding, what counts is the content: each batch file is recognized by
its pinned SHA-256, so no mirror needs to be trusted. See docs/data.md.
"""

import os
import shutil

from stages.cifar10 import BATCH_BYTES, META, META_FILE, SHA256
from stages.errors import exit_with_message
from stages.fetch.params import FetchParams
from stages.fetch.sources import DATA, DOWNLOADS, from_sources, remove_unfinished
from stages.files import replace, room_for
from stages.params import read

RAW = DATA / "raw"


def publish(found: dict[str, bytes]) -> None:
    """Write the verified files aside, then move them to data/raw, where nothing else remains."""
    staging = DATA / ".unfinished-raw"
    shutil.rmtree(staging, ignore_errors=True)
    RAW.mkdir(parents=True, exist_ok=True)
    contents = found | {META_FILE: META.encode()}
    for name, content in contents.items():
        replace(staging / name, content)
    for name in contents:
        os.replace(staging / name, RAW / name)
    for stray in set(RAW.iterdir()) - {RAW / name for name in contents}:
        # A link is no folder, whatever it leads to.
        whole = stray.is_dir() and not stray.is_symlink()
        shutil.rmtree(stray) if whole else stray.unlink()
    staging.rmdir()


def main() -> None:
    params = read("fetch", FetchParams)
    DATA.mkdir(exist_ok=True)
    try:
        # Better known before a download than after it.
        with room_for(RAW, BATCH_BYTES * len(SHA256)):
            publish(from_sources(params))
        remove_unfinished()
    finally:
        if DOWNLOADS.exists() and not any(DOWNLOADS.iterdir()):
            DOWNLOADS.rmdir()
    print(f"{len(SHA256)} batch files verified in {RAW}")


if __name__ == "__main__":
    exit_with_message(main, __doc__)
