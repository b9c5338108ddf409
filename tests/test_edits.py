"""Every edit that a user can make, against the stages that `dvc status` finds changed by it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dvc.repo import Repo

from tests.project import ROOT, STAGES, Params, Project, default_params, get, name_of, put


@pytest.fixture(scope="module")
def shared(
    reproduced: Callable[[Path], Project], tmp_path_factory: pytest.TempPathFactory
) -> Project:
    """Return a project whose first `dvc repro` has run and is committed."""
    project = reproduced(tmp_path_factory.mktemp("project"))
    assert project.changed() == set()
    return project


@pytest.fixture
def project(shared: Project) -> Iterator[Project]:
    """Return the project, to be edited; what Git keeps of it is brought back afterwards."""
    yield shared
    shared.git("reset", "--quiet", "--hard")


OTHER_WORDS = {
    "auto": "cpu",
    "airbench_small": "tutorial",
    "flip_translate": "flip",
    "airbench": "resnet",
    "muon": "adam",
    "linear": "cosine",
    "alternating": "random",
    "mirrored": "zero",
    "last": "best",
}


def other(value: Any) -> Any:
    """Return another value of the same kind, as allowed as the first."""
    if isinstance(value, list):
        return [*value, "/another/source"] if isinstance(value[0], str) else [4, 8, 16]
    if isinstance(value, str):
        return OTHER_WORDS[value]
    if value is None or isinstance(value, bool):
        return 0.5 if value is None else not value
    return value + 1 if isinstance(value, int) else value * 0.5 + 0.01


def keys_of(section: str, params: Params) -> list[str]:
    """Return the dotted keys of all values in a section."""
    value = get(params, section)
    if not isinstance(value, dict):
        return [section]
    return [key for name in value for key in keys_of(f"{section}.{name}", params)]


def table_of_params() -> list[tuple[str, set[str]]]:
    """Return each key of params.yaml, and the stages that read it."""
    rows = []
    params = default_params()
    readers = {
        "seed": {"train"},
        "device": {"train", "evaluate"},
        "devices": {"train"},
        "precision": {"train"},
        "recipe": {"train"},
    }
    for section, content in params.items():
        if section in readers:
            rows.append((section, readers[section]))
        elif section == "recipes":
            rows += [(key, {"train"}) for key in keys_of(f"recipes.{params['recipe']}", params)]
        else:
            rows += [(f"{section}.{key}", {section}) for key in content]
    return rows


def readers_of(path: Path) -> set[str]:
    """Return the stages that a source file belongs to, by the folder it is in."""
    folder = path.relative_to("stages").parts[0]
    shared = {
        "models": {"train"},
        "device.py": {"train", "evaluate"},
        "nvidia.py": {"train", "evaluate"},
        "answers.py": {"train", "evaluate"},
        "arrays.py": {"preprocess", "train", "evaluate", "plots"},
        "calibration.py": {"train", "evaluate"},
        "processors.py": {"train", "evaluate"},
        "settings.py": {"train", "evaluate", "plots"},
        "start.py": {"train", "evaluate"},
        "corruptions.py": {"evaluate", "plots"},
        "tables.py": {"plots"},
    }
    return {folder} if folder in STAGES else shared.get(folder, set(STAGES))


# At least one of each section, and of each part of the recipe.
KEYS = [
    *("recipe", "seed", "device", "fetch.sources", "preprocess.train_size", "evaluate.tta"),
    *("plots.dpi", "recipes.airbench_small.epochs", "recipes.airbench_small.network.widths"),
    *("recipes.airbench_small.optimizer.kernel_momentum", "recipes.airbench_small.schedule.name"),
    "recipes.airbench_small.augmentation.flip",
]
SOURCES = sorted(path.relative_to(ROOT) for path in (ROOT / "stages").rglob("*.py"))


def changed_dependencies(project: Project) -> dict[str, set[str]]:
    """Return what `dvc status` finds changed of each stage: files, and keys of params.yaml."""
    with Repo(str(project.folder)) as repo:
        found = {}
        for name, changes in repo.status().items():
            (changed,) = (change["changed deps"] for change in changes)
            keys = changed.pop("params.yaml", {})
            found[name.rpartition(":")[2]] = {*changed, *keys}
    return found


def test_edits_of_parameters(project: Project) -> None:
    """All at once: DVC says of each stage by which key it is changed."""
    table = table_of_params()
    params = project.params()
    for key, _ in table:
        if key != "recipe":
            put(params, key, other(get(params, key)))
    project.write(params)
    changed = changed_dependencies(project)
    for key, stages in table:
        if key != "recipe":
            found = {s for s, keys in changed.items() if is_within(key, keys, ".")}
            assert (key, found) == (key, stages)
    assert set(changed) == set(STAGES)


def is_within(name: str, parents: set[str], separator: str) -> bool:
    """Return whether a name is one of some others, or below one of them."""
    return any(name == parent or name.startswith(parent + separator) for parent in parents)


@pytest.mark.parametrize("key", KEYS, ids=name_of)
def test_edit_of_a_single_parameter(project: Project, key: str) -> None:
    params = project.params()
    put(params, key, other(get(params, key)))
    project.write(params)
    assert project.changed() == dict(table_of_params())[key]


def test_edit_of_a_recipe_that_is_off(project: Project) -> None:
    params = project.params()
    del params["recipes"]["tutorial"]["network"]
    params["recipes"]["airbench94"]["epochs"] = 1
    params["recipes"]["resnet20"] = None
    project.write(params)
    assert project.changed() == set()


def test_edits_of_source_files(project: Project) -> None:
    """All at once: DVC says of each stage by which file or folder it is changed."""
    for path in SOURCES:
        with (project.folder / path).open("a") as file:
            file.write("# A comment.\n")
    changed = changed_dependencies(project)
    for path in SOURCES:
        found = {s for s, names in changed.items() if is_within(str(path), names, "/")}
        assert (path, found) == (path, readers_of(path))
    with Repo(str(project.folder)) as repo:
        seen = set(repo.dvcignore.find(repo.fs, str(project.folder / "stages")))
    assert {str(project.folder / path) for path in SOURCES} <= seen


@pytest.mark.parametrize("path", ["stages/errors.py", "stages/train/muon.py"])
def test_edit_of_a_single_source_file(project: Project, path: str) -> None:
    with (project.folder / path).open("a") as file:
        file.write("# A comment.\n")
    assert project.changed() == readers_of(Path(path))


# What vim, Emacs, JetBrains, Kate, notebooks, merges, file managers and network disks leave.
LITTER = [".loop.py.swp", "loop.py~", "4913", "#loop.py#", ".loop.py.kate-swp", "loop.py.orig"]
LITTER += [".idea/x.py", ".ipynb_checkpoints/loop-checkpoint.py", "Untitled.ipynb", ".DS_Store"]
LITTER += [
    "loop_BASE_12.py",
    "loop.py.rej",
    "._loop.py",
    "Thumbs.db",
    "desktop.ini",
    ".nfs0001",
    ".fuse_hidden1",
    ".directory",
]
IN_DATA = [
    "x.orig",
    "x.bak",
    ".x.kate-swp",
    ".goutputstream-A1",
    ".DS_Store",
    "._x",
    "Thumbs.db",
    "desktop.ini",
    ".nfs0001",
    "images.npy~",
    "#x#",
]


def litter(folder: Path, names: list[str]) -> None:
    """Leave files in a folder, and the dangling link by which Emacs locks one."""
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("left by another program")
    (folder / ".#loop.py").symlink_to("user@host.123:456")


def test_files_of_editors_change_nothing(
    reproduced: Callable[[Path], Project], tmp_path: Path
) -> None:
    project = reproduced(tmp_path)
    litter(project.folder / "stages/train", LITTER)
    for name in ("raw", "processed/train"):
        litter(project.folder / "data" / name, IN_DATA)
    litter(project.folder / "plots", IN_DATA)
    assert project.changed() == set()
    assert project.repro("--force", "--single-item", "preprocess") == {"preprocess"}
    assert project.changed() == set()
    project.git("add", "plots")
    assert project.git("diff", "--cached", "--name-only") == ""


def test_clone_with_line_ends_of_windows(
    reproduced: Callable[[Path], Project], tmp_path: Path
) -> None:
    project = reproduced(tmp_path / "project")
    project.git("clone", "--quiet", "--config", "core.autocrlf=true", ".", str(tmp_path / "clone"))
    clone = Project(tmp_path / "clone")
    (clone.folder / ".dvc/cache").symlink_to(project.folder / ".dvc/cache")
    clone.dvc("checkout")
    assert clone.changed() == set()
    assert clone.git("status", "--porcelain") == ""


@pytest.mark.parametrize(
    ("out", "stage"),
    [
        ("data/raw/data_batch_1.bin", "fetch"),
        ("data/raw/batches.meta.txt", "fetch"),
        ("data/processed/train/images.npy", "preprocess"),
        ("models/model.keras", "train"),
        ("metrics/evaluate.json", "evaluate"),
        ("plots/mistakes.png", "plots"),
    ],
)
def test_deleted_out(project: Project, out: str, stage: str) -> None:
    path = project.folder / out
    content = path.read_bytes()
    path.unlink()
    changed = project.changed()
    path.write_bytes(content)
    assert stage in changed
