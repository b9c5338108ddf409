"""Packages of the npm registry: how npm is called, watched and ended, with a stand-in for it."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.data.download import SourceError, StallError, pack
from tests.unit.test_download import limits

# Notes its arguments and its process, and knows the folder that they name.
BEGIN = """#!/bin/sh
printf '%s\\n' "$@" > arguments; echo $$ > process
for argument; do
    case $argument in --pack-destination=*) arrived=${argument#*=} ;; esac
done
"""
BRING = 'head -c 90000 /dev/zero > "$arrived/tiny-1.0.0.tgz"\n'
FOLDER = Path("data/downloads/npm")
Install = Callable[[str], None]


@pytest.fixture
def install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Return a function that makes a shell script the only npm there is."""
    (folder / "programs").mkdir()
    monkeypatch.setenv("PATH", f"{folder}/programs{os.pathsep}/bin{os.pathsep}/usr/bin")

    def install(script: str) -> None:
        (folder / "programs/npm").write_text(BEGIN + script)
        (folder / "programs/npm").chmod(0o755)

    return install


def test_npm_is_called_and_brings_an_archive(install: Install) -> None:
    install(BRING + "echo tiny-1.0.0.tgz; echo a notice >&2")
    FOLDER.mkdir(parents=True)
    (FOLDER / "left by a run that was killed").touch()
    assert pack("tiny@1.0.0", FOLDER, limits(attempts=3)).read_bytes() == bytes(90_000)
    assert [path.name for path in FOLDER.iterdir()] == ["tiny-1.0.0.tgz"]
    first, *options, dashes, package = Path("arguments").read_text().splitlines()
    # An option after -- would be taken for a package, a package before it for an option.
    assert (first, dashes, package) == ("pack", "--", "tiny@1.0.0")
    assert {"--ignore-scripts", "--fetch-retries=2"} <= {*options}


@pytest.mark.parametrize(
    ("script", "limit", "reason"),
    [
        (r"printf 'npm error code E4\nnpm error 4 No\nmore' >&2; exit 1", {}, "code E4 4 No"),
        (BRING + "echo in its own words >&2; exit 1", {}, "in its own words"),
        ("echo a page; exit 7", {}, "no archive, exit code 7"),
        ("echo done", {}, "no archive, exit code 0"),
        (BRING + "exec sleep 30", {"maximum_bytes": 80_000}, "larger than fetch.maximum_bytes.*"),
        ("exec sleep 30", {"minimum_rate": 10**6, "stall_seconds": 0.3}, "stalled: .* bytes/s.*"),
    ],
)
def test_npm_fails_or_is_ended(
    install: Install, script: str, limit: dict[str, Any], reason: str
) -> None:
    install(script)
    with pytest.raises((SourceError, StallError)) as error:
        pack("tiny@1.0.0", FOLDER, limits(**limit))
    assert re.fullmatch(reason, str(error.value))
    with pytest.raises(ProcessLookupError):
        os.kill(int(Path("process").read_text()), 0)


def test_npm_is_missing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SourceError, match=r"^npm is not installed$"):
        pack("tiny@1.0.0", FOLDER, limits())
