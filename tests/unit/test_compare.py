"""Whether one model is better than another: the statistics by their formulas, and what is read."""

import os
from collections.abc import Callable, Iterator
from math import comb, sqrt
from pathlib import Path
from statistics import NormalDist

import pandas as pd
import pytest
from dvc.repo import Repo
from scmrepo.git import Git

from stages.errors import InputError
from tools import compare
from tools.compare import difference, interval, main, right

Z = NormalDist().inv_cdf(0.975)
HEADER = "index,actual,predicted,confidence\n"
BEFORE = f"{HEADER}3,cat,cat,0.5\n1,ship,frog,0.25\n2,dog,dog,1\n"
NOW = f"{HEADER}3,cat,dog,0.5\n1,ship,frog,0.25\n2,dog,cat,1\n"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository whose tag `before` holds BEFORE and whose files hold NOW."""
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(folder)
        git = Git.init(".")
        Repo.init(".").close()
        table = Path("plots/predictions.csv")
        table.parent.mkdir()
        git.commit("Without predictions")
        git.tag("empty")
        table.write_text(BEFORE)
        git.add([str(table)])
        git.commit("With predictions")
        git.tag("before")
        table.write_text(NOW)
        git.close()
    return folder


@pytest.fixture
def inside(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the repository's folder, which is the current one, and put its table back."""
    monkeypatch.chdir(project)
    yield project
    (project / "plots/predictions.csv").write_text(NOW)


@pytest.mark.parametrize(
    ("revision", "expected"),
    [
        ("before", {3: True, 1: False, 2: True}),
        ("HEAD", {3: True, 1: False, 2: True}),
        ("workspace", {3: False, 1: False, 2: False}),
    ],
)
@pytest.mark.parametrize("folder_inside", [".", "plots"])
def test_each_image_is_right_or_wrong(
    inside: Path, folder_inside: str, revision: str, expected: dict[int, bool]
) -> None:
    os.chdir(folder_inside)
    found = right(revision)
    assert list(found.index) == list(expected)
    assert found.to_dict() == expected


@pytest.mark.parametrize(
    ("revision", "says"),
    [
        ("", "no name of a revision"),
        ("nowhere", "unknown Git revision 'nowhere'"),
        ("empty", "[Errno 2] No such file or directory: 'plots/predictions.csv'"),
        ("workspace", "line 3, column index: '======='; allowed is a whole number"),
    ],
)
def test_revision_that_cannot_be_compared(inside: Path, revision: str, says: str) -> None:
    Path("plots/predictions.csv").write_text(f"{HEADER}3,cat,dog,0.5\n=======\n")
    with pytest.raises(InputError) as caught:
        right(revision)
    assert str(caught.value) == f"plots/predictions.csv of {revision}: {says}"


def test_no_repository(folder: Path) -> None:
    with pytest.raises(InputError) as caught:
        right("HEAD")
    message = str(caught.value)
    assert message.startswith("plots/predictions.csv of HEAD: you are not inside of a DVC repo")
    assert message.isprintable()


@pytest.mark.parametrize(("correct", "count"), [(8, 10), (0, 5), (5, 5), (1, 3), (9012, 10_000)])
def test_interval_is_wilson_s(correct: int, count: int) -> None:
    p = correct / count
    middle = (p + Z**2 / (2 * count)) / (1 + Z**2 / count)
    half = Z / (1 + Z**2 / count) * sqrt(p * (1 - p) / count + Z**2 / (4 * count**2))
    given = pd.Series([True] * correct + [False] * (count - correct))
    low, high = max(middle - half, 0), min(middle + half, 1)
    assert interval(given) == f"{p:.2%}, 95 % interval {low:.2%} to {high:.2%}"


def models(first: int, second: int, both: int, neither: int) -> tuple[pd.Series, pd.Series]:
    """Return two models: so many images only the first has right, only the second, and so on."""
    one = [True] * first + [False] * second + [True] * both + [False] * neither
    two = [False] * first + [True] * second + [True] * both + [False] * neither
    return pd.Series(one), pd.Series(two)


@pytest.mark.parametrize(
    ("first", "second", "both", "neither"),
    [(1, 3, 4, 2), (3, 1, 4, 2), (6, 0, 3, 1), (0, 5, 0, 0), (60, 100, 840, 0), (80, 100, 800, 20)],
)
def test_difference_of_two_models(first: int, second: int, both: int, neither: int) -> None:
    count = first + second + both + neither
    d = (second - first) / count
    # Of differences 1, -1 and 0, the mean of the squares less the square of the mean.
    half = Z * sqrt(((first + second) / count - d**2) / count)
    discordant = first + second
    tail = sum(comb(discordant, k) for k in range(min(first, second) + 1)) / 2**discordant
    p = min(1, 2 * tail)
    verdict = "more" if p < 0.05 else "no more"
    assert difference(*models(first, second, both, neither)) == [
        f"difference: {d:+.2%}, 95 % interval {d - half:+.2%} to {d + half:+.2%}",
        f"right only in the first: {first}, only in the second: {second}",
        f"McNemar's test: p = {p:.2g}, {verdict} than chance explains at 5 %",
    ]


@pytest.mark.parametrize(
    ("first", "second", "line"),
    [
        # 2 / 2^5, 2 / 2^6, and 1 where both are as good.
        (0, 5, "McNemar's test: p = 0.062, no more than chance explains at 5 %"),
        (6, 0, "McNemar's test: p = 0.031, more than chance explains at 5 %"),
        (1, 1, "McNemar's test: p = 1, no more than chance explains at 5 %"),
    ],
)
def test_p_by_hand(first: int, second: int, line: str) -> None:
    assert difference(*models(first, second, 10, 0))[2] == line


def test_models_that_are_right_and_wrong_on_the_same_images() -> None:
    assert difference(*models(0, 0, 3, 1)) == [
        "difference: +0.00%, 95 % interval +0.00% to +0.00%",
        "right only in the first: 0, only in the second: 0",
        "both are right and wrong on the same images",
    ]


def test_printed_comparison(
    inside: Path, call: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    """Of three images, two right and none: d = -2/3, variance 2/3 - 4/9 = 2/9."""
    call(main, "before")
    half = Z * sqrt(2 / 9 / 3)
    assert capsys.readouterr().out.splitlines() == [
        f"before     {interval(pd.Series([True, False, True]))}",
        f"workspace  {interval(pd.Series([False, False, False]))}",
        f"difference: -66.67%, 95 % interval {-2 / 3 - half:+.2%} to {-2 / 3 + half:+.2%}",
        "right only in the first: 2, only in the second: 0",
        "McNemar's test: p = 0.5, no more than chance explains at 5 %",
    ]
    call(main, "workspace", "HEAD")
    lines = capsys.readouterr().out.splitlines()
    assert [line[:13] for line in lines[:2]] == ["workspace  0.", "HEAD       66"]
    assert lines[3] == "right only in the first: 0, only in the second: 2"


@pytest.mark.parametrize(
    ("indices", "counts"), [([3, 1], "3 and 2"), ([1, 2, 3], "3 and 3"), ([3, 1, 4], "3 and 3")]
)
def test_other_test_images(
    call: Callable[..., None], monkeypatch: pytest.MonkeyPatch, indices: list[int], counts: str
) -> None:
    known = {"a": pd.Series(True, [3, 1, 2]), "b": pd.Series(True, indices)}
    monkeypatch.setattr(compare, "right", known.get)
    with pytest.raises(InputError) as caught:
        call(main, "a", "b")
    says = f"{counts} test images; the same are needed, by index"
    assert str(caught.value) == f"plots/predictions.csv: {says}"


def test_help(help_of: Callable[[Callable[[], None]], str]) -> None:
    text = help_of(main)
    assert text.startswith(
        "usage: python -m tools compare [-h] REV1 [REV2] "
        "Tell whether one model is better than another. "
        "`python -m tools compare HEAD` compares the last commit with the workspace. "
        "A revision is whatever DVC takes for one: a commit, a tag, a branch, the name of an "
        "experiment, `workspace`."
    )
