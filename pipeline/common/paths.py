"""Every path that the stages read or write, relative to the folder of dvc.yaml."""

from pathlib import Path

PARAMS = Path("params.yaml")

DATA = Path("data")
# Not an out: an unfinished download survives here, so that the next run resumes it.
DOWNLOADS = DATA / ".unfinished-downloads"
RAW = DATA / "raw"
PROCESSED = DATA / "processed"
DATASET = PROCESSED / "dataset.json"

MODEL = Path("models/model.keras")
MODEL_CARD = Path("models/README.md")
# What params.yaml's start_from names where a training starts from random weights.
NO_MODEL = Path("models/none")
# DVC removes outs before it runs a stage, so checkpoints are none.
CHECKPOINTS = Path(".dvc/tmp/checkpoints")

TRAIN_METRICS = Path("metrics/train.json")
EVALUATE_METRICS = Path("metrics/evaluate.json")

PLOTS = Path("plots")
HISTORY = PLOTS / "history.csv"
PREDICTIONS = PLOTS / "predictions.csv"
CALIBRATION = PLOTS / "calibration.csv"
CORRUPTIONS = PLOTS / "corruptions.csv"
