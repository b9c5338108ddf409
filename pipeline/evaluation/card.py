"""The model card, models/README.md: what the model is, how good it is, and how to load it.

Mitchell et al., "Model Cards for Model Reporting", arXiv 1810.03993, in short.
"""

import json
from typing import Any

from pipeline.common.config import Params
from pipeline.common.paths import TRAIN_METRICS
from pipeline.common.shell import UserError
from pipeline.data.arrays import Dataset

CARD = """\
# {recipe}, for {names}

Tells which of {count} classes a square image of {side} x {side} pixels shows.

| | |
|---|---|
| data | {data}: {images:,} images to train on, {validation_images:,} to validate, \
{tested:,} to test |
| recipe | {recipe} of params.yaml, seed {seed}, {epochs} epochs, {parameters:,} parameters |
| test accuracy | {accuracy:.2%}, 95 % interval {accuracy_low:.2%} to {accuracy_high:.2%}, \
views of an image: {augmentation} |
| one view of each | {accuracy_without_tta:.2%} |
| mean over the classes | {balanced_accuracy:.2%} (balanced accuracy) |
| expected calibration error | {calibration_error:.2%} |
| made with | {environment} |

## In Keras

```python
import keras
model = keras.saving.load_model("models/model.keras")
probabilities = model.predict(images)  # float32 (n, {side}, {side}, 3), 0 to 1: (n, {count})
```

Whatever the images need besides, the model does itself. `python -m tools.predict` takes pictures of
any size.

## Classes, in the order of the probabilities

| | class | precision | recall | F1 | test images |
|---|---|---|---|---|---|
{rows}
"""
NAMED = 3  # So many classes in the heading.


def model_card(
    params: Params, dataset: Dataset, metrics: dict[str, Any], per_class: list[dict[str, Any]]
) -> str:
    """Return the card, in Markdown.

    Args:
        params: by which the model was trained and measured.
        dataset: that it is for.
        metrics: of the test images, and their details, by the names in metrics/evaluate.json.
        per_class: the scores of each class, likewise.

    Raises:
        UserError: metrics/train.json is missing or damaged.
    """
    try:
        trained = json.loads(TRAIN_METRICS.read_text(encoding="utf-8"))
        (facts,), (environment,) = trained["training"], trained["environment"]
    except (OSError, ValueError, LookupError, TypeError):
        told = f"{TRAIN_METRICS}: missing or damaged; `git checkout metrics` may bring it back"
        raise UserError(f"{told}, `dvc repro --force train` makes it") from None
    count = len(dataset.classes)
    more = f" and {count - NAMED} more" if count > NAMED else ""
    return CARD.format(
        **metrics,
        **facts,
        recipe=params.recipe,
        seed=params.seed,
        data=f"{params.dataset.name}, {params.dataset.path}",
        names=", ".join(dataset.classes[:NAMED]) + more,
        count=count,
        side=dataset.side,
        tested=sum(row["images"] for row in per_class),
        augmentation=params.evaluate.test_time_augmentation,
        environment=", ".join(f"{name} {value}" for name, value in environment.items() if value),
        rows="\n".join(
            f"| {label} | {row['class']} | {row['precision']:.3f} | {row['recall']:.3f} "
            f"| {row['f1']:.3f} | {row['images']} |"
            for label, row in enumerate(per_class)
        ),
    )
