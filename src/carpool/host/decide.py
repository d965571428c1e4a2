"""Which connection goes to whom, as pure functions: figures in, decision out, no clock, no I/O."""

from __future__ import annotations

QUANTUM = 10_000_000  # nanoseconds of a turn: others wait, but a holder may take it up again
PAUSE = 3_000_000  # nanoseconds unused, after which a turn is over before its time
OPENING = 0.05  # seconds for which it is waited that another is opened, while there is room
COLD = 1_000_000_000  # nanoseconds unused, after which one is taken away rather than another opened
AT_HAND = 1 << 62  # the rank of a connection that need not be taken away from anybody
LONGEST_LEASE = 30.0  # seconds, then the broker looks after the connection


def rank(
    since_granted: int, since_released: int, *, own: bool, room: bool, quantum: int = QUANTUM
) -> int:
    """Say whether an idle lent connection may be taken away; the highest goes first. -1: no.

    Times in nanoseconds. `own`: it is the very one who asks that had it last. `room`: another could
    be had from the server.

    >>> rank(90_000_000, 2_000, own=False, room=False)
    999998000
    >>> rank(1_000_000, 2_000, own=False, room=False)
    -1
    """
    if own:
        return AT_HAND
    if since_granted < quantum and since_released < PAUSE:
        return -1
    if since_released >= COLD:
        return COLD + since_released  # the one that is needed least
    # Of those in use, the one used last: where processes take turns, it is needed again last.
    return -1 if room else COLD - since_released


def room(
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
