"""docs/extending.md, followed step by step in a fresh clone."""

import re
import shlex
from pathlib import Path

from tests.project import ROOT, MakeProject

PAGE = (ROOT / "docs/extending.md").read_text()
BLOCK = re.compile(r"^```(python|diff|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Named before a block: the file that it is, or that it changes.
FILE = re.compile(r"`((?:pipeline|stages)/[\w/]+\.py)`:\n")


def test_each_step_of_the_page_takes_effect(reproduced: MakeProject, tmp_path: Path) -> None:
    """Experiments end with the training; what comes later, other tests run."""
    project = reproduced(tmp_path)
    trainings = []
    for block in BLOCK.finditer(PAGE):
        kind, text = block.groups()
        path = project.folder / FILE.findall(PAGE[: block.start()])[-1]
        if kind == "python":
            path.write_text(text)
        elif kind == "diff":
            old, new = ("".join(re.findall(rf"^\{sign}(.*\n)", text, re.M)) for sign in "-+")
            assert path.read_text().count(old) == 1, old
            path.write_text(path.read_text().replace(old, new))
        for command in re.findall(r"^\$ (dvc .*)$", text, re.MULTILINE):
            project.call(*shlex.split(command), *(["train"] if "exp run" in command else []))
            trainings.append(project.json("metrics/train.json")["training"][0])

    convolutions = (3 * 9 + 1) * 16 + (16 * 9 + 1) * 32 + (32 * 9 + 1) * 64
    dense = (4 * 4 * 64 + 1) * 10
    # The last step adds a metric.
    assert [training["parameters"] for training in trainings[:4]] == [convolutions + dense] * 4
    assert len({training["train_loss"] for training in trainings[:4]}) == 4
    assert len(trainings) == 5
    tested = project.json("metrics/evaluate.json")
    assert tested["accuracy"] <= tested["top_3_accuracy"] <= 1
