"""Arguments of the command that classifies pictures: which are allowed, what is said of others."""

from collections.abc import Callable
from pathlib import Path

import pytest

from stages.errors import InputError
from tools.predict.__main__ import main, parse

HELP = """\
usage: python -m tools predict [-h] [--model MODEL] [--top K] [--figure FILE]
[--tta {none,flip,flip_translate}] [--json | --csv] IMAGE_OR_FOLDER [IMAGE_OR_FOLDER ...]

Classify pictures with the trained model. Takes pictures of any format, size and mode that Pillow
reads, and all of those in a folder and its subfolders.

positional arguments:
  IMAGE_OR_FOLDER

options:
  -h, --help            show this help message and exit
  --model MODEL         models/model.keras by default
  --top K               classes; 3 by default
  --figure FILE         a contact sheet, PNG
  --tta {none,flip,flip_translate}
                        views of each averaged; none: as it is
  --json                print JSON instead of a table
  --csv                 print CSV instead of a table
"""


def test_the_help(help_of: Callable[[Callable[[], None]], str]) -> None:
    assert help_of(main) == " ".join(HELP.split())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "the following arguments are required: IMAGE_OR_FOLDER"),
        ([""], "argument IMAGE_OR_FOLDER: an empty name"),
        (["a.png", ""], "argument IMAGE_OR_FOLDER: an empty name"),
        (["a.png", "--top", "x"], "argument --top: invalid int value: 'x'"),
        (["a.png", "--top", "1.5"], "argument --top: invalid int value: '1.5'"),
        (["a.png", "--json", "--csv"], "argument --csv: not allowed with argument --json"),
        (["a.png", "--mirror"], "unrecognized arguments: --mirror"),
        (["a.png", "--model"], "argument --model: expected one argument"),
    ],
)
def test_arguments_of_another_form_are_refused(
    call: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    says: str,
) -> None:
    with pytest.raises(SystemExit) as ended:
        call(main, *arguments)
    assert ended.value.code == 2
    *usage, last = capsys.readouterr().err.splitlines()
    assert last == f"python -m tools predict: error: {says}"
    assert " ".join(usage).split() == HELP.partition("\n\n")[0].split()


def test_unknown_views_are_refused(
    call: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        call(main, "a.png", "--tta", "mirror")
    assert ended.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    # Newer versions of Python leave out the quotation marks.
    says = "argument --tta: invalid choice: mirror (choose from none, flip, flip_translate)"
    assert last.replace("'", "") == f"python -m tools predict: error: {says}"


def test_arguments_as_they_are_taken(call: Callable[..., None]) -> None:
    found: list[dict[str, object]] = []
    call(lambda: found.append(vars(parse())), "a.png", "-")
    call(
        lambda: found.append(vars(parse())),
        *("b", "--model", "m.keras", "--top", "7", "--figure", "s.png", "--tta", "flip", "--json"),
    )
    call(lambda: found.append(vars(parse())), "c", "--csv")
    defaults: dict[str, object] = {
        "paths": [Path("a.png"), Path("-")],
        "model": Path("models/model.keras"),
        "top": 3,
        "figure": None,
        "tta": "none",
        "json": False,
        "csv": False,
    }
    given = {"paths": [Path("b")], "model": Path("m.keras"), "top": 7, "figure": Path("s.png")}
    assert found == [
        defaults,
        defaults | given | {"tta": "flip", "json": True},
        defaults | {"paths": [Path("c")], "csv": True},
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["a.png", "--top", "0"], "--top 0: allowed are 1 to 10"),
        (["a.png", "--top", "11"], "--top 11: allowed are 1 to 10"),
        (["a.png", "--top", "-3"], "--top -3: allowed are 1 to 10"),
        (
            ["a.png", "--model", "none.keras"],
            "none.keras: missing; `dvc repro` or `dvc pull` brings a model",
        ),
        (
            ["a.png", "--figure", "sheet.jpg"],
            "--figure sheet.jpg: the name must end in .png",
        ),
        (["a.png", "--figure", "png"], "--figure png: the name must end in .png"),
        (["a.png", "--figure", "folder.png"], "--figure folder.png: a folder"),
        (["empty", "folder.png"], "empty, folder.png: no pictures in there"),
    ],
)
def test_what_cannot_be_used_is_refused(
    call: Callable[..., None], folder: Path, arguments: list[str], says: str
) -> None:
    """Before anything is read: neither the picture nor a working model is there."""
    for name in ("empty", "folder.png"):
        Path(name).mkdir()
    Path("models").mkdir()
    Path("models/model.keras").touch()
    with pytest.raises(InputError) as error:
        call(main, *arguments)
    assert str(error.value) == says


def test_a_model_that_is_missing_by_default(call: Callable[..., None], folder: Path) -> None:
    with pytest.raises(InputError) as error:
        call(main, "a.png")
    says = "missing; `dvc repro` or `dvc pull` brings a model"
    assert str(error.value) == f"models/model.keras: {says}"
