"""What every download has: a progress bar, a largest size and a lowest rate."""

import time
from types import TracebackType

from tqdm import tqdm

from stages.fetch.params import FetchParams


class SourceError(Exception):
    """A source did not deliver; the message says why in one line, and the next source is tried."""


class StallError(Exception):
    """A download fell below the lowest rate; another attempt may do better."""


class Transfer:
    """Watches one download; a context manager, since it draws a bar on the terminal."""

    def __init__(self, name: str, limits: FetchParams, total: int | None = None, done: int = 0):
        """Start at `done` of `total` bytes."""
        self.limits = limits
        self.done = done
        self._window_start = time.monotonic()
        self._window_done = done
        # disable=None: no bar where standard error is not a terminal.
        self._bar = tqdm(
            desc=name, total=total, initial=done, unit="B", unit_scale=True, disable=None
        )

    def __enter__(self) -> "Transfer":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.close()

    def reach(self, done: int) -> None:
        """Take note that `done` bytes are here.

        Raises:
            SourceError: more than `maximum_bytes`.
            StallError: less than `minimum_rate` bytes/s over the last `stall_seconds`.
        """
        self._bar.update(done - self.done)
        self.done = done
        refuse_above(self.limits.maximum_bytes, done)
        now = time.monotonic()
        seconds = now - self._window_start
        if seconds >= self.limits.stall_seconds:
            rate = (done - self._window_done) / seconds
            if rate < self.limits.minimum_rate:
                raise StallError(
                    f"stalled: {rate:.0f} bytes/s over {seconds:.0f} s, "
                    f"below fetch.minimum_rate = {self.limits.minimum_rate}"
                )
            self._window_start, self._window_done = now, done


def refuse_above(maximum_bytes: int, size: int) -> None:
    """Raise a SourceError where a download of `size` bytes is too large."""
    if size > maximum_bytes:
        raise SourceError(f"larger than fetch.maximum_bytes = {maximum_bytes}")
