"""Which connection goes to whom, as pure functions: figures in, decision out, no clock, no I/O."""

from __future__ import annotations

from dataclasses import dataclass

QUANTUM = 3_000_000  # nanoseconds for which a holder may take its connection again, whoever waits
COLD = 1_000_000_000  # nanoseconds unused, after which one is taken away rather than another opened
AT_HAND = 1 << 62  # the rank of a connection that need not be taken away from anybody
LONGEST_LEASE = 30.0  # seconds, then the broker looks after the connection


@dataclass(frozen=True, slots=True)
class Lent:
    """A connection that is idle at the process that had it last; times in nanoseconds from now."""

    since_granted: int
    since_released: int
    own: bool  # it is the very one who asks that had it last
    same_process: bool


def rank(lent: Lent, *, room: bool, capped: bool, quantum: int = QUANTUM) -> int | None:
    """Say whether a connection may be taken away for who asks; the highest goes first. None: no.

    `room`: another could be had from the server. `capped`: who asks may only change one of its own
    process' connections for another.

    >>> rank(Lent(9_000_000, 2_000, own=False, same_process=False), room=False, capped=False)
    2000
    >>> rank(Lent(1_000_000, 2_000, own=False, same_process=False), room=False, capped=False)
    """
    if lent.own:
        return AT_HAND
    if capped and not lent.same_process:
        return None
    if lent.same_process and (capped or lent.since_granted >= quantum):
        return lent.since_released
    if lent.since_granted < quantum:
        return None
    if room and lent.since_released < COLD:
        return None
    return lent.since_released


def room(  # noqa: PLR0913 - they are all that counts
    *,
    max_size: int,
    reserve: int,
    lent: int,
    seeking: int,
    foreign: int,
    longest_wait: float,
    reserve_timeout: float,
) -> int:
    """Say how many connections more may be asked of the pool.

    `foreign`: those of a broker before this one, which are still in use. Times in seconds.

    >>> counts = dict(max_size=8, reserve=2, lent=6, seeking=0, foreign=0, reserve_timeout=1.0)
    >>> room(**counts, longest_wait=0.2), room(**counts, longest_wait=1.2)
    (0, 2)
    """
    kept = reserve if longest_wait < reserve_timeout else 0
    return max(0, max_size - kept - foreign - lent - seeking)


def is_due(since_granted: int, since_released: int, *, check_after: float, longest: float) -> bool:
    """Say whether an idle lent connection goes back to the pool. Seconds and nanoseconds."""
    return since_released >= check_after * 1e9 or since_granted >= longest * 1e9
