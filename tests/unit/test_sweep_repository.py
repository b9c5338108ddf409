"""What a sweep needs of the repository that it starts from."""

from contextlib import chdir
from pathlib import Path

import dvc.api
import pytest

from stages.errors import InputError
from tests.project import ROOT
from tools.sweep import repository
from tools.sweep.repository import experiments, metrics_of, pull, refuse_metric, source
from tools.sweep.trial import Source, TrialError

Commands = list[tuple[str, ...]]


class Programs:
    """Takes the place of git and dvc: notes each command and prints what is known of it."""

    def __init__(self) -> None:
        """Know nothing."""
        self.commands: Commands = []
        self.answers: dict[str, str | InputError] = {}

    def __call__(self, *command: str) -> str:
        """Return what the command prints; raise what it fails with."""
        self.commands.append(command)
        answer = self.answers.get(" ".join(command), "")
        if isinstance(answer, InputError):
            raise answer
        return answer


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> Programs:
    programs = Programs()
    monkeypatch.setattr(repository, "call", programs)
    monkeypatch.setattr(repository, "metrics_of", lambda targets: (f"{''.join(targets)}.json",))
    return programs


@pytest.fixture
def folder(tmp_path: Path) -> object:
    with chdir(tmp_path):
        yield tmp_path


def test_trials_of_this_machine_share_its_cache(programs: Programs, folder: Path) -> None:
    programs.answers["dvc cache dir"] = "/cache"
    found = source("a", None, ("train",), "accuracy")
    clones = str(folder / ".dvc/tmp/sweeps/a")
    assert found == Source(
        str(folder), "refs/sweeps/a", clones, "/cache", ("train",), ("train.json",)
    )
    assert programs.commands == [
        ("dvc", "cache", "dir"),
        ("git", "push", "--quiet", "--force", str(folder), "HEAD:refs/sweeps/a"),
    ]


@pytest.mark.parametrize("address", ["ssh://host/a.git", "other"])
def test_trials_of_other_machines_share_a_remote(
    programs: Programs, folder: Path, address: str
) -> None:
    """A path means the same on each of them, wherever it is read."""
    programs.answers["git remote get-url origin"] = address
    (folder / "other").mkdir()
    expected = str(folder / "other") if address == "other" else address
    found = source("a", "origin", (), "accuracy")
    assert found == Source(expected, "refs/sweeps/a", None, None, (), (".json",))
    assert programs.commands == [
        ("git", "remote", "get-url", "origin"),
        ("dvc", "config", "--project", "core.remote"),
        ("git", "push", "--quiet", "--force", expected, "HEAD:refs/sweeps/a"),
    ]


def test_without_storage_no_results_are_shared(programs: Programs, folder: Path) -> None:
    programs.answers["git remote get-url origin"] = "ssh://host/a.git"
    programs.answers["dvc config --project core.remote"] = InputError("no such option")
    with pytest.raises(InputError) as refused:
        source("a", "origin", (), "accuracy")
    assert str(refused.value) == (
        "no DVC remote, by which machines share results; "
        "`dvc remote add --default NAME ADDRESS` names one, then commit it"
    )


def test_an_experiment_is_pulled(programs: Programs) -> None:
    pull("origin", "a")
    assert programs.commands == [("dvc", "exp", "pull", "--force", "origin", "a")]


def test_what_a_command_fails_with_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(command: list[str], place: Path) -> str:
        raise TrialError(f"{command} in {place.name}")

    monkeypatch.setattr(repository.trial, "call", fail)
    with pytest.raises(InputError) as refused:
        repository.call("git", "status")
    assert str(refused.value) == f"['git', 'status'] in {folder.name}"
    monkeypatch.setattr(repository.trial, "call", lambda command, place: f" {command[1]}\n")
    assert repository.call("git", "status") == "status"


@pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")  # Of DVC's own calls.
def test_metrics_are_those_of_the_stages_that_run() -> None:
    with chdir(ROOT):
        assert metrics_of(("train",)) == ("metrics/train.json",)
        assert metrics_of(("preprocess",)) == ()
        both = ("metrics/evaluate.json", "metrics/train.json")
        assert metrics_of(("evaluate",)) == metrics_of(("train", "plots")) == metrics_of(()) == both
        with pytest.raises(InputError, match="absent"):
            metrics_of(("absent",))


def test_a_metric_that_no_trial_would_write_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each trial would have the commit's."""
    monkeypatch.setattr(repository, "metrics_of", lambda targets: ("evaluate.json", "train.json"))
    Path("evaluate.json").write_text('{"accuracy": 0.5}')
    refuse_metric("accuracy", ("evaluate.json", "train.json"))
    # Of a file that is not there yet, nothing is known.
    refuse_metric("val_accuracy", ("train.json",))
    ends = {("train.json",): "allowed is one in train.json", (): "name a stage that does"}
    for written, end in ends.items():
        with pytest.raises(InputError) as refused:
            refuse_metric("accuracy", written)
        assert str(refused.value) == (
            "--metric accuracy: in evaluate.json, which the stages that run do not write; " + end
        )
    Path("train.json").write_text('{"accuracy": 0.25}')
    refuse_metric("accuracy", ("train.json",))


def test_experiments_that_have_the_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        {"Experiment": "", "typ": "baseline", "val_accuracy": 0.9},
        {"Experiment": "a", "typ": "branch_commit", "val_accuracy": 0.5},
        {"Experiment": "b", "typ": "branch_base", "val_accuracy": None},
        {"Experiment": "c", "typ": "branch_base", "val_accuracy": "0.25"},
        {"Experiment": "d", "typ": "branch_base", "val_accuracy": "!"},
    ]
    monkeypatch.setattr(dvc.api, "exp_show", lambda: rows)
    found = experiments("val_accuracy")
    assert found == {"a": 0.5, "c": 0.25}
    assert {type(value) for value in found.values()} == {float}
    assert experiments("val_loss") == {}
