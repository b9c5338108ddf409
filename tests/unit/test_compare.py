"""Whether one model is better than another, by the formulas of the interval and of the test."""

import re

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, binomtest, norm, t, ttest_ind, ttest_rel

from pipeline.common.shell import UserError
from tools.compare import LEVEL, difference, difference_of_settings, of_value
from tools.experiments import Training


@pytest.mark.parametrize(
    ("first", "second", "both", "neither"),
    [(1, 3, 4, 2), (2, 2, 3, 1), (6, 0, 3, 1), (0, 5, 0, 0), (60, 100, 840, 0), (80, 100, 800, 20)],
)
def test_difference_of_two_models(first: int, second: int, both: int, neither: int) -> None:
    """So many images only the first has right, only the second, and so on."""
    counts = (first, second, both, neither)
    one, two = (pd.Series(np.repeat(of, counts) == 1) for of in ([1, 0, 1, 0], [0, 1, 1, 0]))
    count, either = sum(counts), first + second
    p = binomtest(first, either).pvalue
    lines = difference(one, two)
    middle, low, high = (float(text) / 100 for text in re.findall(r"[+-][\d.]+", lines[0]))
    assert middle == pytest.approx((second - first) / count, abs=5.1e-5)
    # Were the share of the second's at an end, as many or more would come of it in 1 of 40 cases.
    for end, tail in (
        (low, binom(either, (low * count / either + 1) / 2).sf(second - 1)),
        (high, binom(either, (high * count / either + 1) / 2).cdf(second)),
    ):
        assert tail == pytest.approx(0.025, abs=0.01) or abs(end) * count == pytest.approx(
            either, 1e-2
        )
    assert (low <= 0 <= high) == (p >= 0.05)
    assert [*map(int, re.findall(r"\d+", lines[1]))] == [first, second]
    assert f"p = {p:.2g}, " in lines[2]
    assert ("not significant" in lines[2]) == (p >= 0.05)


def training(name: str, state: str = "", code: str = "a", **changed: object) -> Training:
    params = {"seed": 0, "rate": 1, "size": 1} | changed
    tested = {} if name == "not tested" else {"accuracy": 0.5}
    return Training(name, state, {"train.py": code}, params, tested)


def test_a_value_stands_for_the_tested_trainings_that_have_it() -> None:
    known = [training("HEAD"), training("another size", size=2, seed=1), training("same", seed=2)]
    known += [training(name, seed=1) for name in ("workspace", "not tested")]
    # What failed may have any value, also of the seed.
    known += [training("failed", "failed", seed="wrong"), training("too many", seed=3)]
    assert of_value("rate=1", known, 3) == ["HEAD", "same"]
    with pytest.raises(UserError, match="HEAD, other ran different code"):
        of_value("rate=1", [known[0], training("other", code="b", seed=1)], 3)


def test_models_that_are_right_and_wrong_on_the_same_images() -> None:
    right = pd.Series([True, False])
    assert difference(right, right)[-1] == "both are right and wrong on the same images"


def answers(generator: np.random.Generator, seeds: int, easy: np.ndarray) -> np.ndarray:
    """Return whether so many trainings are right about images: bool (seeds, images).

    How well a training does, and how it does on an image, differ by chance.
    """
    luck = 0.05 * generator.standard_normal((seeds, 1)) + 0.3 * generator.standard_normal(len(easy))
    return generator.random((seeds, len(easy))) < 1 / (1 + np.exp(-easy - luck))


@pytest.mark.parametrize(("seeds", "paired"), [(3, False), (6, False), (6, True)])
def test_equal_settings_are_seldom_called_different(seeds: int, paired: bool) -> None:
    generator, different = np.random.default_rng(0), 0
    for _ in range(1000):
        easy = 3.5 + 2.5 * generator.standard_normal(2000)
        first, second = (answers(generator, seeds, easy) for _ in "ab")
        _, low, high = difference_of_settings(first, second, paired)
        different += not low <= 0 <= high
    assert 30 <= different <= 70


def test_the_interval_is_as_written_down() -> None:
    """Two trainings each of four images; both have as many right, which is less than by chance."""
    first = np.array([[1, 0, 1, 0], [1, 1, 0, 0]], bool)
    second = np.array([[1, 1, 1, 0], [0, 1, 1, 1]], bool)
    middle, low, high = difference_of_settings(first, second, paired=False)
    by_image = np.array([-0.5, 0.5, 0.5, 0.5])
    assert middle == by_image.mean() == 0.25
    half = norm.ppf(0.975) * np.sqrt(by_image.var(ddof=1) / 4 / 2)
    assert (low, high) == pytest.approx((0.25 - half, 0.25 + half))


@pytest.mark.parametrize("level", [LEVEL, LEVEL / 4])
@pytest.mark.parametrize("paired", [True, False])
def test_where_images_do_not_matter_the_interval_is_students(paired: bool, level: float) -> None:
    """Each training is right on all images or on none; without pairs, it is Welch's."""
    first, second = np.array([1, 0, 1, 1, 0, 1]), np.array([0, 1, 0, 0, 0, 1])
    test = ttest_rel(second, first) if paired else ttest_ind(second, first, equal_var=False)
    one, two = (np.repeat(each[:, None], 50, axis=1) == 1 for each in (first, second))
    _, low, high = difference_of_settings(one, two, paired, level)
    assert (low, high) == pytest.approx(tuple(test.confidence_interval(1 - level)))


def test_the_interval_is_by_the_sums_of_squares_of_both_layouts() -> None:
    generator = np.random.default_rng(0)
    easy = generator.random(6)
    first, second = (generator.random((seeds, 6)) < easy for seeds in (4, 3))
    by_image = second.mean(0) - first.mean(0)
    variance, spread = by_image.var(ddof=1) / 6, 0.0
    for x in (first, second):
        seeds, mean = len(x), x.mean()
        of_seeds = 6 * ((x.mean(1) - mean) ** 2).sum()
        of_images = seeds * ((x.mean(0) - mean) ** 2).sum()
        of_both = ((x - mean) ** 2).sum() - of_seeds - of_images
        share = of_seeds / (seeds - 1) / x.size
        variance += share - of_both / (seeds - 1) / 5 / x.size
        spread += share**2 / (seeds - 1)
    half = t.ppf(0.975, variance**2 / spread) * variance**0.5
    expected = by_image.mean() + np.array([0, -half, half])
    np.testing.assert_allclose(difference_of_settings(first, second, paired=False), expected)
