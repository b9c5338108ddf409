"""How many pixels are decoded at a time, so that memory is bounded."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from tools.predict import reading
from tools.predict.reading import Budget, read

# Seconds: in which what is allowed has happened for sure, and what is not, would have.
LONG, SHORT = 5, 0.03


class Taker:
    """A thread that takes pixels, and gives them back when it is told to."""

    def __init__(self, budget: Budget, pixels: int):
        """Start taking."""
        self.has_them, self._enough = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._take, args=(budget, pixels), daemon=True)
        self._thread.start()

    def _take(self, budget: Budget, pixels: int) -> None:
        with budget.spent(pixels):
            self.has_them.set()
            self._enough.wait(LONG)

    def give_back(self) -> None:
        """End."""
        self._enough.set()
        self._thread.join(LONG)
        assert not self._thread.is_alive()


def test_as_many_as_are_free_are_taken_at_once() -> None:
    budget = Budget(10)
    with budget.spent(6):
        taker = Taker(budget, 4)
        assert taker.has_them.wait(LONG)
        taker.give_back()


def test_one_more_waits_until_they_are_free() -> None:
    budget = Budget(10)
    first = Taker(budget, 6)
    assert first.has_them.wait(LONG)
    second = Taker(budget, 5)
    assert not second.has_them.wait(SHORT)
    first.give_back()
    assert second.has_them.wait(LONG)
    second.give_back()
    with budget.spent(10):
        pass


def test_more_than_all_is_taken_alone() -> None:
    budget = Budget(10)
    small = Taker(budget, 1)
    assert small.has_them.wait(LONG)
    large = Taker(budget, 1000)
    assert not large.has_them.wait(SHORT)
    small.give_back()
    assert large.has_them.wait(LONG)
    other = Taker(budget, 1)
    assert not other.has_them.wait(SHORT)
    large.give_back()
    assert other.has_them.wait(LONG)
    other.give_back()


def test_all_who_can_go_on_do() -> None:
    budget = Budget(10)
    first = Taker(budget, 10)
    assert first.has_them.wait(LONG)
    waiting = [Taker(budget, 5), Taker(budget, 5)]
    first.give_back()
    assert all(taker.has_them.wait(LONG) for taker in waiting)
    for taker in waiting:
        taker.give_back()


def test_a_failure_gives_them_back() -> None:
    budget = Budget(10)
    for _ in range(2):
        with pytest.raises(ValueError, match="damaged"), budget.spent(10):
            raise ValueError("damaged")


@pytest.fixture
def spent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list of what is taken from the budget."""
    spent: list[int] = []

    class Noted(Budget):
        @contextmanager
        def spent(self, pixels: int) -> Iterator[None]:
            spent.append(pixels)
            with super().spent(pixels):
                yield

    monkeypatch.setattr(reading, "BUDGET", Noted(1000))
    return spent


@pytest.mark.parametrize(
    ("name", "size", "progressive", "expected"),
    [
        ("a.png", (600, 30), False, 600 * 30),
        # The decoder of JPEG shrinks by 2, 4 or 8, to no side below 256 pixels.
        ("a.jpg", (512, 1025), False, 256 * 513),
        ("a.jpg", (510, 1025), False, 510 * 1025),
        ("a.jpg", (2048, 2048), False, 256 * 256),
        # It keeps all of a progressive one until it is read to the end.
        ("a.jpg", (512, 1025), True, 512 * 1025),
    ],
)
def test_pixels_that_a_picture_takes(
    tmp_path: Path,
    spent: list[int],
    name: str,
    size: tuple[int, int],
    progressive: bool,
    expected: int,
) -> None:
    Image.new("RGB", size, "red").save(tmp_path / name, progressive=progressive)
    assert read(tmp_path / name)[16, 16] == pytest.approx((255, 0, 0), abs=2)
    assert spent == [expected]


def test_the_budget_of_all_threads() -> None:
    """Of 2 ** 25 pixels, which take half a gigabyte at 16 bytes each."""
    with reading.BUDGET.spent(1 << 24):
        enough = Taker(reading.BUDGET, 1 << 24)
        assert enough.has_them.wait(LONG)
        one_more = Taker(reading.BUDGET, 1)
        assert not one_more.has_them.wait(SHORT)
        enough.give_back()
        assert one_more.has_them.wait(LONG)
        one_more.give_back()
