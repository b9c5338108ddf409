"""Pictures of one's own: a folder of class folders, or an archive of one.

As Keras's `image_dataset_from_directory` and torchvision's `ImageFolder` read it: the names of the
folders are those of the classes, in sorted order. Above these there may be train and test, and val.
The order of the images depends on the names alone, never on the file system.
"""

import hashlib
import sys
import tarfile
import tempfile
import unicodedata
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
from joblib import Parallel, cpu_count, delayed

from pipeline.common.config import Folder
from pipeline.common.paths import DATA, PARAMS, PROCESSED
from pipeline.common.randomness import stream
from pipeline.common.shell import UserError, check_room, one_line
from pipeline.data.arrays import Dataset, Pictures, Split
from pipeline.data.pictures import attempt, pictures_in

# Folders' names by the split that they are.
SPLITS = {"train": ("train",), "validation": ("val", "validation", "valid"), "test": ("test",)}
UNREADABLE_FRACTION = 0.01
NAMED = 5  # So many files, where a message is about many.
# What archivers add to archives.
LITTER = ("__MACOSX",)

# The pictures of a split, and their labels.
Listing = tuple[list[Path], np.ndarray]


def read_all(params: Folder) -> Pictures:
    """Read all pictures; warn of those that cannot be read, and of those that come twice.

    Raises:
        UserError: there are no class folders, only one, one without pictures, or two whose names
            differ in case only; too many pictures cannot be read; or there is no room for them.
    """
    with unpacked(Path(params.path)) as root:
        splits = {
            split: place
            for split, names in SPLITS.items()
            for place in subfolders(root)
            if place.name.lower() in names
        }
        if "train" not in splits or len(splits) == 1:
            splits = {"train": root}
        classes = classes_in(params, splits["train"])
        listed = {split: list_pictures(place, classes) for split, place in splits.items()}
        if "test" not in listed:
            listed["train"], listed["test"] = parted(*listed["train"], params.test_split)
        dataset = Dataset(classes, params.image_size)
        check_room_for(sum(len(paths) for paths, _ in listed.values()), dataset)
        found, files = {}, {}
        for split, listing in listed.items():
            found[split], files[split] = read(ordered(*listing), params)
    warn_of_repeated(found, files)
    return Pictures(dataset, found["train"], found["test"], found.get("validation"))


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """Yield the folder at `path`, or one that its archive is unpacked to for as long."""
    if path.is_dir():
        yield path
        return
    if not path.exists():
        raise UserError(f"{PARAMS}: dataset.path = {path}: no such folder or archive")
    DATA.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=DATA) as folder:
        try:
            unpack(path, Path(folder))
        except Exception as error:
            # A full disk is no fault of the archive. Its readers raise whatever they come upon.
            if getattr(error, "errno", None):
                raise
            raise UserError(f"{PARAMS}: dataset.path = {path}: {one_line(error)}") from None
        root = Path(folder)
        # Most archives hold one folder, and in it what was packed.
        while len(inside := subfolders(root)) == 1 and subfolders(inside[0]):
            root = inside[0]
        yield root


def unpack(path: Path, folder: Path) -> None:
    """Unpack a tar, compressed or not, or a zip archive; nothing of it leads outside."""
    if not tarfile.is_tarfile(path):
        # It makes names harmless.
        zipfile.ZipFile(path).extractall(folder)
    elif not hasattr(tarfile, "data_filter"):
        raise ValueError("Python 3.11.4 or later is needed to unpack a tar safely")
    else:
        with tarfile.open(path) as archive:
            archive.extractall(folder, filter="data")


def subfolders(place: Path) -> list[Path]:
    """Return the folders in a folder, sorted, but for hidden ones."""
    return sorted(
        path
        for path in place.iterdir()
        if path.is_dir() and not path.name.startswith(".") and path.name not in LITTER
    )


def normalized(name: str) -> str:
    """Return a name as most systems write it; macOS may take letters and accents apart."""
    return unicodedata.normalize("NFC", name)


def classes_in(params: Folder, place: Path) -> tuple[str, ...]:
    """Return the names of the classes that are asked for, or of all folders in `place`."""
    names = sorted(normalized(path.name) for path in subfolders(place))
    if absent := [name for name in params.classes or () if name not in names]:
        found = one_line(", ".join(names))
        where = f"{PARAMS}: dataset.classes"
        raise UserError(f"{where}: no folder {absent[0]!r} in {place}; there are {found}")
    classes = tuple(params.classes or names)
    if not 2 <= len(classes) <= 256:
        raise UserError(
            f"{PARAMS}: dataset.path = {params.path}: {len(classes)} folders in {place}; allowed "
            "are 2 to 256, one for each class"
        )
    lower = [name.casefold() for name in classes]
    if same := [name for name in classes if lower.count(name.casefold()) > 1]:
        raise UserError(f"{place}: {', '.join(same)} differ in case only; one class, or two names?")
    return classes


def list_pictures(place: Path, classes: tuple[str, ...]) -> Listing:
    """Return the pictures below the class folders in `place`, class by class, and their labels."""
    folders = {normalized(path.name): path for path in subfolders(place)}
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        of_class = pictures_in(folders[name]) if name in folders else []
        if not of_class:
            raise UserError(f"{place / name}: no pictures; each class needs some")
        paths += sorted(of_class, key=lambda path: normalized(path.as_posix()))
        labels += [label] * len(of_class)
    return paths, np.array(labels, np.uint8)


def parted(paths: list[Path], labels: np.ndarray, test_split: float) -> tuple[Listing, Listing]:
    """Part pictures into some to train and some to test on, the same share of each class."""
    order = fair_order(labels)
    kept = len(paths) - max(round(len(paths) * test_split), 1)
    parts = np.sort(order[:kept]), np.sort(order[kept:])
    train, test = (([paths[i] for i in part], labels[part]) for part in parts)
    return train, test


def fair_order(labels: np.ndarray) -> np.ndarray:
    """Return a random order in which every part has a fair share of each class, int64 (n,).

    It is the same for every seed of a training, so that all are measured on the same pictures.
    """
    shuffled = stream(0, "pictures").permutation(len(labels))
    place = np.empty(len(labels))
    for label in np.unique(labels):
        of_class = shuffled[labels[shuffled] == label]
        place[of_class] = (np.arange(len(of_class)) + 0.5) / len(of_class)
    return np.lexsort((labels, place))


def ordered(paths: list[Path], labels: np.ndarray) -> Listing:
    """Return pictures in the order of their arrays.

    Where their names are numbers, each there once, that order; else one of a fair share of each
    class everywhere, since the first and the last images stand for all: for validation, a smaller
    `train_size`, the corruptions.
    """
    stems = [path.stem for path in paths]
    if all(stem.isdecimal() for stem in stems) and len({*map(int, stems)}) == len(stems):
        order = np.argsort([int(stem) for stem in stems])
    else:
        order = fair_order(labels)
    return [paths[i] for i in order], labels[order]


def read(listing: Listing, params: Folder) -> tuple[Split, list[Path]]:
    """Return images and labels of the pictures that can be read, and which these are."""
    paths, labels = listing
    side = params.image_size
    images = np.empty((len(paths), side, side, 3), np.uint8)
    reasons: dict[Path, str] = {}
    readable = np.ones(len(paths), bool)
    # In processes, since for small pictures threads would wait for each other. One more takes a
    # second to start.
    processes = min(cpu_count(), 1 + len(paths) // 200)
    pool = Parallel(n_jobs=processes, return_as="generator")
    readings = pool(delayed(attempt)(path, side) for path in paths)
    for number, (path, reading) in enumerate(zip(paths, readings, strict=True)):
        if isinstance(reading, str):
            reasons[path], readable[number] = reading, False
        else:
            images[number] = reading
    told = [f"{one_line(path)}: {reason}" for path, reason in reasons.items()]
    if len(reasons) > UNREADABLE_FRACTION * len(paths):
        some = "; ".join(told[:NAMED])
        raise UserError(f"{len(told):,} of {len(paths):,} pictures cannot be read: {some}")
    if lost := set(labels) - set(labels[readable]):
        first = paths[int(np.argmax(labels == min(lost)))]
        raise UserError(f"{first}: {reasons[first]}; no picture of its class can be read")
    for line in told:
        print(f"warning: left out: {line}", file=sys.stderr)
    if reasons:
        images, labels = images[readable], labels[readable]
        paths = [path for path in paths if path not in reasons]
    return (images, labels), paths


def check_room_for(images: int, dataset: Dataset) -> None:
    """Say what so many images will take, on disk and while a model is trained on them.

    Raises:
        UserError: there is less.
    """
    size = 12 * images * dataset.side**2
    print(
        f"{images:,} images of {dataset.side} x {dataset.side} pixels, as arrays {size / 1e6:,.0f} "
        "MB on disk, and as much memory in training",
        flush=True,
    )
    PROCESSED.mkdir(parents=True, exist_ok=True)
    check_room(PROCESSED, size)
    free = psutil.virtual_memory().available
    if free < size:
        raise UserError(
            f"{size:,} bytes of memory needed, {free:,} free; a smaller dataset.image_size or "
            "fewer classes need less"
        )


def warn_of_repeated(found: dict[str, Split], files: dict[str, list[Path]]) -> None:
    """Warn of images that are for training and for something else, which are no test of it."""

    def digests(split: str) -> list[bytes]:
        # Or all images would be in memory twice.
        return [hashlib.sha256(image).digest() for image in found[split][0]]

    trained_on = dict(zip(digests("train"), files["train"], strict=True))
    for split in found.keys() - {"train"}:
        same = [
            f"{one_line(path)} is {one_line(trained_on[digest])}"
            for digest, path in zip(digests(split), files[split], strict=True)
            if digest in trained_on
        ]
        if same:
            told = f"{len(same):,} {split} pictures are also for training"
            print(f"warning: {told}: {'; '.join(same[:NAMED])}", file=sys.stderr)
