"""How long things took: noted on the request's path, counted by whoever looks at it."""

from __future__ import annotations

from collections import deque
from threading import RLock
from typing import TYPE_CHECKING

from carpool.pool.histogram import Histogram

if TYPE_CHECKING:
    from carpool.pool.histogram import Counted

MOST = 2**14  # durations of one kind that are kept until somebody counts them; the oldest are lost


class Durations:
    """Takes durations at the cost of one append, by any thread; `settle` counts them."""

    def __init__(self) -> None:
        self.fresh: deque[float] = deque(maxlen=MOST)  # seconds
        self.note = self.fresh.append
        self._counted = Histogram()
        self._lock = RLock()  # guards the histogram; reentrant for signal handlers

    def settle(self) -> list[float]:
        """Count what has come since the last call, and return it."""
        fresh = []
        with self._lock:
            for _ in range(len(self.fresh)):
                fresh.append(seconds := self.fresh.popleft())
                self._counted.count(seconds)
        return fresh

    def tell(self) -> Counted:
        """Return what has been counted by `settle` so far."""
        with self._lock:
            return self._counted.tell()


class Meter:
    """The durations of one pool."""

    def __init__(self) -> None:
        self.wait_time = Durations()  # of acquires that had to queue up
        self.use_time = Durations()  # from acquire to release
        self.create_time = Durations()  # of connects that succeeded
