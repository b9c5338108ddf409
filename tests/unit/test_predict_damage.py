"""Files that are no pictures, or damaged ones: a reason on one line, and the run goes on."""

import io
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.pictures import gradient
from tests.project import ROOT
from tools.predict.reading import attempt
from tools.predict.search import files

# One of each kind that a fuzzer found Pillow's decoders to raise, and none of them an OSError.
DAMAGED = sorted((ROOT / "tests/damaged_pictures").iterdir())
FORMATS = ["BMP", "DDS", "GIF", "ICNS", "IM", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "SGI"]
FORMATS += ["TGA", "TIFF", "WEBP", "AVIF", "BLP", "MSP", "SPIDER", "XBM"]
MODES = {"MSP": "1", "XBM": "1", "SPIDER": "F", "BLP": "P", "ICNS": "RGBA"}


@pytest.mark.parametrize("path", DAMAGED, ids=lambda path: path.name)
@pytest.mark.filterwarnings("ignore")
def test_damaged_picture_is_told(path: Path) -> None:
    reason = attempt(path)
    assert isinstance(reason, str)
    assert reason.isprintable()


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.filterwarnings("ignore")
def test_no_damage_ends_the_run(tmp_path: Path, name: str) -> None:
    """Bytes changed, cut and repeated at random places, the same in every run."""
    whole = io.BytesIO()
    Image.fromarray(gradient()).convert(MODES.get(name, "RGB")).save(whole, name)
    path = tmp_path / "damaged"
    generator = np.random.default_rng(0)
    for _ in range(60):
        content = bytearray(whole.getvalue())
        # Headers are where damage leads furthest.
        reach = len(content) if generator.random() < 0.3 else min(len(content), 200)
        for place in generator.integers(0, reach, generator.integers(1, 8)):
            content[place] = generator.integers(0, 256)
        if generator.random() < 0.3:
            del content[generator.integers(0, len(content)) :]
        path.write_bytes(content)
        found = attempt(path)
        assert found.isprintable() if isinstance(found, str) else found.shape == (32, 32, 3)


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    """Opening it would wait for who writes to it."""
    os.mkfifo(tmp_path / "pipe.png")
    found: list[object] = []
    thread = threading.Thread(
        target=lambda: found.append(attempt(tmp_path / "pipe.png")), daemon=True
    )
    thread.start()
    thread.join(5)
    assert found == ["not a regular file"]


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    assert attempt(tmp_path) == "Is a directory"
    assert attempt(tmp_path / "none.png") == "No such file or directory"
    assert attempt(Path("a" * 300 + ".png")) == "File name too long"
    assert [*files([Path("a" * 300)])] == [Path("a" * 300)]


def test_what_is_no_picture_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("page.jpg").write_text("<html>")
    assert attempt(Path("page.jpg")) == "cannot identify image file 'page.jpg'"


def test_a_cut_picture_is_told(tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    Image.fromarray(gradient()).save(picture)
    picture.write_bytes(picture.read_bytes()[:100])
    assert attempt(picture) == "image file is truncated"


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_picture_of_too_many_pixels_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than twice as many as Pillow warns of."""
    picture = tmp_path / "a.png"
    Image.new("RGB", (40, 30)).save(picture)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 600)
    assert not isinstance(attempt(picture), str)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 599)
    says = "Image size (1200 pixels) exceeds limit of 1198 pixels"
    assert attempt(picture) == f"{says}, could be decompression bomb DOS attack."
