"""Times repeated work, the same way on each side of a comparison."""

import time
from collections.abc import Callable


def timed(work: Callable[[], object], seconds: float, warm_up: int = 2) -> list[float]:
    """Return how long each repetition took, s, over a span of `seconds`."""
    for _ in range(warm_up):
        work()
    durations: list[float] = []
    while sum(durations) < seconds:
        start = time.monotonic()
        work()
        durations.append(time.monotonic() - start)
    return durations
