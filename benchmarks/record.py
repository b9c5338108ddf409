"""Runs a recipe for the record, as DVC experiments, and keeps what each seed gave in results/.

Trains on all 50,000 images unless -S says otherwise. Each run is kept as results/RECIPE/seed-N/:
metrics, history and parameters as DVC recorded them, and run.json with the commit, the command and
the training time. The machine is in train.json.
"""

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from statistics import mean

import dvc.api

import tools as tools  # For Git and DVC to look in this folder, even within a hook of Git.

KEPT = ("params.yaml", "metrics/train.json", "metrics/evaluate.json", "plots/history.csv")
SETTINGS = (
    "preprocess.validation_split=0",
    "evaluate.test_time_augmentation=flip_translate",
    "evaluate.corruption_size=10000",
)


def run_experiment(name: str, settings: list[str]) -> tuple[str, str]:
    """Run an experiment in place of an earlier one of that name, and return command and output."""
    subprocess.run(["dvc", "exp", "remove", name], check=False, capture_output=True)
    options = [part for value in settings for part in ("-S", value)]
    command = ["dvc", "exp", "run", "--temp", "--name", name, *options]
    output = ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for line in process.stdout:
            print(line, end="", flush=True)
            output += line
    if process.returncode:
        sys.exit(f"{' '.join(command)}: exit code {process.returncode}")
    return " ".join(command), output


def record(recipe: str, seed: int, settings: list[str]) -> float:
    """Run one seed, keep its results, and return its test accuracy."""
    name = f"{recipe}-seed-{seed}"
    commit = subprocess.check_output(["git", "rev-parse", "HEAD"], text=True).strip()
    values = [f"recipe={recipe}", f"seed={seed}", *SETTINGS, *settings]
    command, output = run_experiment(name, values)
    trained = re.search(r"^trained for (\d+) s$", output, re.MULTILINE)
    if not trained:
        sys.exit(f"{name}: not trained, its results come from DVC's run cache, .dvc/cache/runs")
    folder = Path("results", recipe, f"seed-{seed}")
    folder.mkdir(parents=True, exist_ok=True)
    for path in KEPT:
        (folder / Path(path).name).write_text(dvc.api.read(path, rev=name))
    facts = {"commit": commit, "command": command, "training_seconds": int(trained[1])}
    (folder / "run.json").write_text(json.dumps(facts, indent=2) + "\n")
    return json.loads((folder / "evaluate.json").read_text())["accuracy"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.record", description=__doc__)
    parser.add_argument("recipe", metavar="RECIPE")
    parser.add_argument("seeds", metavar="SEED", type=int, nargs="+")
    parser.add_argument("-S", metavar="KEY=VALUE", dest="settings", action="append", default=[])
    given = parser.parse_args()
    accuracies = [record(given.recipe, seed, given.settings) for seed in given.seeds]
    print(f"mean test accuracy {mean(accuracies):.4f} of {accuracies}")
