"""The circuit: while the server refuses connections, requests fail fast and attempts back off."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from carpool.pool import decide


@dataclass(slots=True)
class Circuit:
    """What is known of failed attempts to connect. Guarded by the pool's lock; times monotonic."""

    failures: int = 0
    since: float = 0.0
    failed_at: float = 0.0
    retry_at: float = 0.0
    error: BaseException | None = None
    full: bool = False  # the server is up, but has no room: worth waiting for
    wanted_at: float = field(default=0.0)  # when a request last asked for a connection

    def failed(self, error: BaseException, began: float, now: float, *, full: bool) -> None:
        """Take note of an attempt that failed; `full`: the server is up, but has no room.

        Attempts side by side count as one.
        """
        self.full = full
        self.error = error
        if self.failures and began < self.failed_at:
            return
        self.failed_at = now
        if not self.failures:
            self.since = now
        self.failures += 1
        chance = random.random()  # noqa: S311 - spreads attempts, guards nothing
        self.retry_at = now + decide.backoff(self.failures, chance)

    def succeeded(self) -> None:
        """Close the circuit; the last error stays known, for messages."""
        self.failures = 0
        self.retry_at = 0.0

    def open(self, now: float) -> bool:
        """Tell whether no attempt is due yet."""
        return now < self.retry_at

    def probing(self, now: float, reconnect_timeout: float) -> bool:
        """Tell whether the pool should still try by itself to reach a server that is down.

        Not after a single failure: that may be a wrong name, which no further attempt mends.
        """
        return self.failures > 1 and now - max(self.since, self.wanted_at) < reconnect_timeout
