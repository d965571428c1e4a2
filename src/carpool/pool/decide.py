"""What the pool does next, as pure functions: figures in, decision out, no clock and no I/O."""

from __future__ import annotations

import enum
from dataclasses import dataclass

JITTER = 0.25  # of a lifetime, downwards (HikariCP's share): not all die at once
RENEW_SHARE = 0.05  # the last part of a lifetime, in which a replacement is opened
RENEW_MOST = 30.0  # seconds; that part is no longer than this
BACKOFF_FIRST = 0.1  # seconds
BACKOFF_MOST = 5.0
TICK_MOST = 30.0
TICK_LEAST = 0.02


@dataclass(frozen=True, slots=True)
class Counts:
    """Where the pool's server connections are, and who wants one."""

    open: int  # idle, leased or resetting
    opening: int
    closing: int
    forsaken: int  # of those being opened: who ordered them gave up
    tended: int  # of the open ones: in a worker's hands, to come back soon
    waiting: int

    @property
    def size(self) -> int:
        """Server connections that count against `max_size`."""
        return self.open + self.opening + self.closing


def to_open(counts: Counts, min_size: int, max_size: int) -> int:
    """Say how many more connections to open: one for each who waits for none yet, and the minimum.

    >>> to_open(Counts(open=2, opening=1, closing=0, forsaken=0, tended=0, waiting=3), 0, 10)
    2
    """
    room = max_size - counts.size
    for_waiters = counts.waiting - (counts.opening - counts.forsaken) - counts.tended
    for_minimum = min_size - counts.open - counts.opening
    return max(0, min(room, max(for_waiters, for_minimum)))


def lifetime(max_lifetime: float, chance: float) -> tuple[float, float]:
    """Give the ages at which to renew and to retire a connection; `chance` is in [0, 1)."""
    retire = max_lifetime * (1 - JITTER * chance)
    return retire - min(RENEW_MOST, retire * RENEW_SHARE), retire


def backoff(failures: int, chance: float) -> float:
    """Give the pause after so many failed connects in a row; `chance` is in [0, 1).

    None after the first, so that a single refusal does not fail the next request unasked.
    """
    if failures < 2:  # noqa: PLR2004 - the docstring says why
        return 0.0
    # The exponent is bounded too: a server may be down for days.
    pause: float = min(BACKOFF_MOST, BACKOFF_FIRST * 2 ** min(failures - 2, 16))
    return pause * (1 - JITTER * chance)


class Upkeep(enum.Enum):
    """What an idle connection needs."""

    NOTHING = enum.auto()
    RENEW = enum.auto()
    CLOSE_IDLE = enum.auto()
    CLOSE_OLD = enum.auto()


@dataclass(frozen=True, slots=True)
class IdleFacts:
    """When an idle connection's dates fall due, in seconds from now; negative: overdue."""

    retire: float
    renew: float
    shrink: float


def upkeep(facts: IdleFacts, *, spare: bool) -> Upkeep:
    """Say what an idle connection needs; `spare`: the pool has more than its minimum."""
    if facts.retire <= 0:
        return Upkeep.CLOSE_OLD
    if spare and facts.shrink <= 0:
        return Upkeep.CLOSE_IDLE
    if facts.renew <= 0:
        return Upkeep.RENEW
    return Upkeep.NOTHING


def tick(*periods: float) -> float:
    """Say how long the keeper may sleep, given the shortest times that it has to keep."""
    shortest = min((period for period in periods if period > 0), default=TICK_MOST)
    return max(TICK_LEAST, min(TICK_MOST, shortest / 2))
