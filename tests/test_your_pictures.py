"""Pictures of one's own: docs/your-pictures.md followed, and what the folder's content asks for."""

import re
import shlex
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.common.shell import UserError
from pipeline.data import cifar10
from stages.preprocess import main
from tests.archives import LABELS, PIXELS
from tests.project import ROOT, MakeProject, Once, Params, Project, default_params, write_params

SPLITS = ("train", "validation", "test")
PAGE = (ROOT / "docs/your-pictures.md").read_text()
CODE, COMMANDS = (
    re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.M | re.S)[0] for kind in ("python", "console")
)


@pytest.fixture(scope="session")
def followed(reproduced: MakeProject, once: Once) -> Project:
    """Return a project in which the page was followed; .git/output is what its end printed."""

    def make(folder: Path) -> None:
        project = reproduced(folder)
        project.call("python", "-c", CODE)
        for line in COMMANDS.splitlines():
            for command in line.removeprefix("$ ").split(" && "):
                output = project.call(*shlex.split(command))
        (folder / ".git/output").write_text(output)

    return Project(once("digits", make))


def test_the_page_leads_to_a_model(followed: Project) -> None:
    dataset = followed.json("data/processed/dataset.json")
    assert dataset == {"classes": [*"0123456789"], "side": 32}
    metrics = followed.json("metrics/evaluate.json")
    assert metrics["accuracy"] > 0.2
    assert 0.2 < metrics["balanced_accuracy"] <= 1
    # What `predict` said, which needs the model alone.
    printed = (followed.folder / ".git/output").read_text()
    assert len(re.findall("^digits/3/", printed, re.M)) == 183


def test_the_card_is_true(followed: Project) -> None:
    card = (followed.folder / "models/README.md").read_text()
    accuracy = followed.json("metrics/evaluate.json")["accuracy"]
    assert f"| test accuracy | {accuracy:.2%}, 95 % interval" in card
    assert len(re.findall(r"^\| \d \| \d \|", card, re.M)) == 10
    (code,) = re.findall(r"```python\n(.*?)```", card, re.S)
    images = "import numpy; images = numpy.zeros((2, 32, 32, 3), 'float32')\n"
    check = "\nassert probabilities.shape == (2, 10)"
    followed.call("python", "-c", images + code + check)


def test_one_picture_more_is_prepared_again(followed: Project, tmp_path: Path) -> None:
    project = Project(shutil.copytree(followed.folder, tmp_path / "copy", symlinks=True))
    shutil.copy(project.folder / "digits/3/3.png", project.folder / "digits/5/1797.png")
    changed = project.changed()
    assert "preprocess" in changed
    assert "fetch" not in changed


# --- what the folder holds ------------------------------------------------------------------------


@pytest.fixture
def settings(here: Path) -> dict[str, Any]:
    """Return the section `dataset` for a folder `own` in the current folder."""
    return {"name": "folder", "path": "own", "image_size": 32}


def prepare(dataset: dict[str, Any], **preprocess: object) -> dict[str, np.ndarray]:
    """Run the stage, and return what it wrote by split and name."""
    params: Params = default_params() | {"dataset": dataset}
    params["preprocess"] |= preprocess
    write_params(Path(), params)
    main()
    paths = Path("data/processed").glob("*/*.npy")
    return {f"{path.parent.name} {path.stem}": np.load(path, allow_pickle=False) for path in paths}


def draw(*names: str) -> None:
    """Write small pictures, each of another colour."""
    for number, name in enumerate(names):
        path = Path("own") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 20), (number % 256, number // 256, 77)).save(path, "PNG")


@pytest.mark.parametrize("archive", [None, "gztar", "zip"])
def test_cifar_10_as_class_folders_gives_the_published_arrays(
    settings: dict[str, Any], archive: str | None
) -> None:
    labels = np.array([*LABELS.values()]).ravel()
    names = np.array(cifar10.CLASSES)[labels]
    images = PIXELS.reshape(-1, 32, 32, 3)
    for number, (image, name) in enumerate(zip(images, names, strict=True)):
        folder = Path("own", "train" if number < 20 else "test", name)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{number}.png")
    # Of the few test pictures not every class has one.
    chosen = sorted({*names[:20].tolist()} & {*names[20:].tolist()})
    if archive:
        settings["path"] = shutil.make_archive("own", archive, base_dir="own")
        shutil.rmtree("own")
    found = prepare(settings | {"classes": chosen}, validation_split=0.25)

    kept = np.isin(names, chosen)
    trained = kept[:20].sum()
    np.testing.assert_array_equal(
        np.concatenate([found[f"{split} images"] for split in SPLITS]),
        (images[kept] / 255).astype(np.float32),
        strict=True,
    )
    assert len(found["validation images"]) == trained - int(trained * 0.75)
    written = np.concatenate([found[f"{split} labels"] for split in SPLITS])
    assert [*np.array(chosen)[written]] == [*names[kept]]
    assert not [*Path("data").glob(".unfinished*")]


def test_every_part_has_a_fair_share_of_each_class(settings: dict[str, Any]) -> None:
    draw(*(f"cat/a{i}.png" for i in range(60)), *(f"dog/b{i}.png" for i in range(30)))
    found, again = (
        prepare(settings | {"test_split": 0.2}, validation_split=0.25) for _ in range(2)
    )
    shares = {"train": [36, 18], "validation": [12, 6], "test": [12, 6]}
    for split, counts in shares.items():
        assert np.bincount(found[f"{split} labels"]).tolist() == counts
    # No picture in two parts.
    images = np.concatenate([found[f"{split} images"] for split in shares])
    assert len(np.unique(images[:, 0, 0, :2], axis=0)) == 90
    # Random, not by name, and the same each time.
    assert np.diff(found["train images"][:, 0, 0, 0]).min() < 0
    assert all(np.array_equal(found[name], again[name]) for name in found)


def test_pictures_for_validation_of_ones_own(settings: dict[str, Any]) -> None:
    for split, count in (("train", 4), ("val", 2), ("test", 3)):
        draw(*(f"{split}/{c}/{c}{i}.png" for c in ("a", "b") for i in range(count)))
    found = prepare(settings)
    assert [len(found[f"{split} labels"]) for split in SPLITS] == [8, 4, 6]
    shutil.rmtree("own/test")
    found = prepare(settings | {"test_split": 0.25})
    assert [len(found[f"{split} labels"]) for split in SPLITS] == [6, 4, 2]


def test_a_picture_in_training_and_test_is_told(
    settings: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    draw("train/a/1.png", "train/b/2.png", "test/a/3.png", "test/b/4.png")
    shutil.copy("own/train/b/2.png", "own/test/a/copy.png")
    prepare(settings, validation_split=0)
    (line,) = capsys.readouterr().err.splitlines()
    assert "own/test/a/copy.png" in line
    assert "own/train/b/2.png" in line


def test_an_unreadable_picture_is_named_and_left_out(
    settings: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    draw(*(f"{c}/{i}.png" for c in ("a", "b") for i in range(150)))
    Path("own/a/7.png").write_bytes(b"\x89PNG and no more")
    found = prepare(settings)
    assert sum(len(array) for name, array in found.items() if "labels" in name) == 299
    assert "own/a/7.png" in capsys.readouterr().err


MANY = [f"train/a/{i}.png" for i in range(150)]
# A file is empty whose name begins with `bad`.
BAD = {
    "nothing there": ([], "own"),
    "no folders": (["1.png"], "0 folders"),
    "one class": (["a/1.png"], "1 folders"),
    "an empty class": (["a/1.png", "b/bad.txt"], "own/b"),
    "case only": (["a/1.png", "A/2.png"], "A, a"),
    "a class of training only": (["train/a/1.png", "train/b/2.png", "test/a/3.png"], "test/b"),
    "unreadable": (["a/1.png", "b/2.png", "b/bad.png"], "own/b/bad.png"),
    "an unreadable class": (
        [*MANY, "train/b/bad.png", "test/a/1.png", "test/b/2.png"],
        "own/train/b/bad.png: .*no picture of its class",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_folder_of_no_use_is_refused(settings: dict[str, Any], kind: str) -> None:
    names, says = BAD[kind]
    draw(*names)
    for path in Path().rglob("bad*"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match=says):
        prepare(settings)
    assert not [*Path().glob("data/processed/*/*.npy")]


def test_an_archive_of_no_use_is_refused(settings: dict[str, Any]) -> None:
    draw("a/1.png", "b/2.png")
    with tarfile.open("outside.tar", "w") as archive:
        archive.add("own")
        archive.addfile(tarfile.TarInfo("../outside.png"))
    Path("text.tar").write_text("text")
    for path in ("outside.tar", "text.tar"):
        with pytest.raises(UserError, match=path):
            prepare(settings | {"path": path})
    assert not [*Path().rglob("outside.png")]


def test_an_unknown_class_is_refused(settings: dict[str, Any]) -> None:
    draw("a/1.png", "b/2.png")
    with pytest.raises(UserError, match="'c'.*a, b"):
        prepare(settings | {"classes": ["a", "c"]})
