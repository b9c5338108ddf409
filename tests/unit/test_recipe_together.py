"""What two parts of a recipe, or a recipe and the data, must agree on."""

from pathlib import Path
from typing import Any

import pytest

from stages.errors import InputError
from stages.train.params import Recipe, check_validation, read_recipe
from tests.unit.least_recipe import LEAST, refusal, written


def small(network: str, side: int, share: float, epochs: int = 2) -> dict[str, Any]:
    """Return a recipe that trains on small images first."""
    augmentation = {"low_resolution": side, "low_resolution_share": share}
    return LEAST | {
        "network": {"name": network},
        "augmentation": augmentation,
        "epochs": epochs,
    }


@pytest.mark.parametrize(
    ("network", "side", "says"),
    [
        (
            "tutorial",
            31,
            "network tutorial takes no images below 32 x 32 pixels; allowed are 32, "
            "low_resolution_share 0, or network.name airbench or resnet",
        ),
        (
            "tutorial",
            9,
            "network tutorial takes no images below 32 x 32 pixels; allowed are 32, "
            "low_resolution_share 0, or network.name airbench or resnet",
        ),
        (
            "tutorial",
            8,
            "network tutorial takes no images below 32 x 32 pixels; allowed are 32, "
            "low_resolution_share 0, or network.name resnet",
        ),
        (
            "airbench",
            8,
            "network airbench takes no images below 9 x 9 pixels; allowed are 9 to 32, "
            "low_resolution_share 0, or network.name resnet",
        ),
    ],
)
def test_images_below_what_the_network_takes_are_refused(
    folder: Path, network: str, side: int, says: str
) -> None:
    expected = f".augmentation.low_resolution = {side}: {says}"
    assert refusal(small(network, side, 0.5)) == expected


@pytest.mark.parametrize(("network", "side"), [("tutorial", 32), ("airbench", 9), ("resnet", 1)])
def test_images_of_the_size_that_the_network_takes(folder: Path, network: str, side: int) -> None:
    written(small(network, side, 1.0))
    assert read_recipe().augmentation.low_resolution == side


@pytest.mark.parametrize(("share", "epochs"), [(0.0, 100_000), (0.24, 2), (1.0, 1)])
def test_a_side_of_which_there_is_no_epoch_does_not_matter(
    folder: Path, share: float, epochs: int
) -> None:
    """The last epoch, which may be the only one, is always one of full size."""
    written(small("tutorial", 1, share, epochs))
    assert read_recipe().augmentation.low_resolution == 1


@pytest.mark.parametrize(("warmup", "epochs"), [(1, 1), (2, 1), (100_000, 100_000)])
def test_a_warmup_that_does_not_end_is_refused(folder: Path, warmup: int, epochs: int) -> None:
    schedule = {"name": "linear", "warmup_epochs": warmup}
    assert refusal(LEAST | {"schedule": schedule, "epochs": epochs}) == (
        f".schedule.warmup_epochs = {warmup}: should be less than epochs, {epochs}"
    )


def test_a_warmup_may_last_until_the_last_epoch(folder: Path) -> None:
    written(LEAST | {"schedule": {"name": "linear", "warmup_epochs": 4}, "epochs": 5})
    assert read_recipe().schedule.warmup_epochs == 4


@pytest.mark.parametrize(
    ("changed", "value"),
    [
        ({"keep": "best"}, "keep = 'best'"),
        ({"patience": 1}, "patience = 1"),
        ({"keep": "best", "patience": 3}, "keep = 'best'"),
    ],
    ids=["keep", "patience", "both"],
)
def test_what_validation_images_choose_is_refused_without_them(
    folder: Path, changed: dict[str, Any], value: str
) -> None:
    written(LEAST | changed)
    recipe = read_recipe()
    with pytest.raises(InputError) as caught:
        check_validation(recipe, 0)
    assert str(caught.value) == (
        f"params.yaml: recipes.x.{value}: needs validation images; "
        "preprocess.validation_split is too small"
    )
    check_validation(recipe, 1)


def test_other_recipes_need_no_validation_images() -> None:
    check_validation(Recipe.model_validate(LEAST), 0)


def test_a_network_need_not_pool(folder: Path) -> None:
    written(LEAST | {"network": {"name": "tutorial", "filters": [8], "pool_after": []}})
    assert read_recipe().network.model_dump()["pool_after"] == []


@pytest.mark.parametrize(("filters", "pool_after"), [([8], [2, 3]), ([8, 8], [1, 3])], ids=str)
def test_pooling_after_a_convolution_that_is_not_there_is_refused(
    folder: Path, filters: list[int], pool_after: list[int]
) -> None:
    network = {"name": "tutorial", "filters": filters, "pool_after": pool_after}
    assert refusal(LEAST | {"network": network}) == (
        f".network.pool_after = {pool_after}: allowed are numbers up to {len(filters)}, "
        "that of the last convolution"
    )
