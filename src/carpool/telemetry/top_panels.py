"""What `carpool top` shows, as plain text and cells of tables. Pure: figures in, text out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carpool.pool.histogram import BOUNDS
from carpool.telemetry import health, status
from carpool.telemetry.text import counted, cut, duration, printable, short

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from carpool.pool.histogram import Counted
    from carpool.telemetry.figures import Lease, Part, Report, Total

POOLS = ("POOL", "OPEN", "LEASED", "PINNED", "WAITING", "ACQ/S", "STATE")
PROCESSES = ("PID", "OPEN", "LEASED", "WAITING", "MOST", "ACQUIRES", "COMMAND")
BLOCKS = " ▁▂▃▄▅▆▇█"
NAME = 28  # columns
SECONDS = 60  # of a trend
AROUND = 38  # columns beside a trend
FRAMES = 3  # lines of a stack, the innermost
NO_LEASES = "No connection has been in use for long."
NO_STACK = "where: set `leak_warning` in the pool's options to see"


def pool_cells(pool: Total, at: float) -> tuple[str, ...]:
    """Return a pool's row, for the columns of `POOLS`."""
    return (
        cut(pool["name"], NAME),
        f"{pool['open']:,}/{pool['capacity']:,}",
        f"{pool['leased']:,}",
        f"{pool['pinned']:,}",
        f"{pool['waiting']:,}",
        f"{status.rate(pool):,.1f}",
        state(pool, at),
    )


def state(pool: Total, at: float) -> str:
    """Return in a word how a pool is; "ok" if all is well."""
    if health.is_paused(pool):
        return "PAUSED"
    if health.is_away(pool):
        return "AWAY"
    if [*health.stale(pool, at)]:
        return "STALE"
    return "waits" if pool["waiting"] else "ok"


def process_cells(part: Part) -> tuple[str, ...]:
    """Return a process' row, for the columns of `PROCESSES`."""
    own = part["figures"]
    numbers = [own["open"], own["leased"], own["waiting"], own["peak_leased"], own["acquires"]]
    return (str(part["pid"]), *(f"{each:,}" for each in numbers), printable(short(part["command"])))


def headline(report: Report) -> str:
    """Say how much there is, and how many things are wrong."""
    found = health.problems(report, {})
    verdict = f"{counted(len(found), 'problem')}: {found[0]}" if found else "healthy"
    if not report["pools"] and not found:
        return status.headline(report)
    many, processes = len(report["pools"]), report["processes"]
    return printable(f"{counted(many, 'pool')}, {counted(processes, 'process')}, {verdict}")


def trends(pool: Total, width: int) -> Iterator[str]:
    """Yield a line for each of the recent figures."""
    wide = max(10, min(SECONDS, width - AROUND))
    leased, waiting, acquires = (
        [*each] for each in zip(*pool["recent"] or [(0, 0, 0)], strict=True)
    )
    wait = f", for up to {duration(pool['longest_wait'])}" if pool["waiting"] else ""
    for label, values, most, now in (
        ("leased", leased, pool["capacity"], f"{pool['leased']:,} of {pool['capacity']:,}"),
        ("waiting", waiting, 0, f"{pool['waiting']:,}{wait}"),
        ("acquires", acquires, 0, f"{status.rate(pool):,.1f}/s"),
    ):
        yield f"{label:<9}{spark(values[-wide:], most):>{wide}}  {now}"


def spark(values: Sequence[int], most: int = 0) -> str:
    """Draw values as bars of one line, from 0 to `most` or the greatest of them.

    (Textual's own begins at the least of them, so that 10 of 11 would look like none.)

    >>> spark([0, 1, 4, 8])
    ' ▁▄█'
    """
    top, steps = max(most, *values, 1), len(BLOCKS) - 1
    return "".join(BLOCKS[-(-each * steps // top)] for each in values)


def bars(counted: Counted, width: int) -> Iterator[str]:
    """Draw a histogram with a line for each bucket, leaving out the empty ones at both ends."""
    buckets = counted["buckets"]
    filled = [number for number, count in enumerate(buckets) if count]
    if not filled:
        yield "none yet"
        return
    total, most = sum(buckets), max(buckets)
    wide = max(5, width - 24)
    for number in range(filled[0], filled[-1] + 1):
        count = buckets[number]
        bar = "█" * (-(-count * wide // most))
        yield f"{_bound(number):>8} {bar:<{wide}} {count:>7,} {count / total:>5.0%}"


def _bound(number: int) -> str:
    if number == len(BOUNDS):
        return f"> {BOUNDS[-1]:g} s"
    bound = BOUNDS[number]
    return f"{bound:g} s" if bound >= 1 else f"{bound * 1000:g} ms"


def times(pool: Total, width: int) -> Iterator[str]:
    """Yield the histograms of waits and of uses, below each other."""
    for title, drawn in (
        (f"waited, {pool['waits']:,} of {pool['acquires']:,} acquires", pool["wait_time"]),
        (f"used: {status.steps(pool['use_time'])}", pool["use_time"]),
    ):
        yield title
        yield from bars(drawn, width)
        yield ""


def leases(pool: Total) -> Iterator[str]:
    """Yield who has had a connection for a while, and what for."""
    for lease in pool["leases"]:
        yield printable(_lease(lease))
        yield from _stack(lease)
        yield ""
    if not pool["leases"]:
        yield NO_LEASES


def _lease(lease: Lease) -> str:
    who = [f"pid {lease['pid']}", lease["thread"], lease["alias"]]
    pinned = f"pinned by {lease['pinned']}" if lease["pinned"] else ""
    return ", ".join(filter(None, (duration(lease["held"]), *who, pinned)))


def _stack(lease: Lease) -> Iterator[str]:
    """Yield the innermost lines: of what acquired it, else of what its thread is at."""
    for label, stack in (("acquired at", lease["acquired"]), ("is now at", lease["now"])):
        if lines := stack.strip("\n").splitlines():
            yield f"  {label}"
            yield from (f"  {printable(line)}" for line in lines[-2 * FRAMES :])
            return
    yield f"  {NO_STACK}"
