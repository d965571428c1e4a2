"""Whether all is well with the pools of a host, for probes. Pure: a report in, reasons out."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from carpool.telemetry.text import counted, duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from carpool.driver import Limits
    from carpool.telemetry.figures import Report, Total

    # What the server of a pool (by its name) says, or why it says nothing.
    Servers: TypeAlias = Mapping[str, Limits | str]

WELL, WRONG, UNKNOWN, NOTHING = range(4)  # exit statuses; UNKNOWN: the question makes no sense
STALE = 5.0  # seconds since a process last wrote its figures, which it does each second
LONG = 0.5  # of the time that a waiter has


def problems(report: Report, servers: Servers) -> list[str]:
    """Return what is wrong, each in a line with its way out where there is one."""
    found = list(report["faults"])
    for pool in report["pools"]:
        found += [f"{pool['name']}: {each}" for each in _of_pool(pool, report["at"])]
    for name, said in servers.items():
        if isinstance(said, str):
            found.append(f"{name}: the server does not answer: {said}")
    return found


def exit_status(report: Report, found: list[str]) -> int:
    """Return `WELL`, `WRONG` if there are problems, `NOTHING` if there are no pools either."""
    if found:
        return WRONG
    return WELL if report["pools"] else NOTHING


def is_paused(pool: Total) -> bool:
    """Tell whether acquires are made to wait, in any process."""
    return (
        pool["paused"]
        or bool((pool["broker"] or {}).get("paused"))
        or any(part["figures"]["paused"] for part in pool["parts"])
    )


def is_away(pool: Total) -> bool:
    """Tell whether the last connect has failed, with no connection left."""
    return bool(pool["last_error"]) and not pool["open"]


def stale(pool: Total, at: float) -> Iterator[tuple[int, float]]:
    """Yield the pids of live processes that have told nothing for so many seconds."""
    for part in pool["parts"]:
        if (silence := at - part["at"]) > STALE:
            yield part["pid"], silence


def _of_pool(pool: Total, at: float) -> Iterator[str]:
    if is_paused(pool):
        yield "paused; `carpool resume` ends that"
    elif pool["waiting"] and pool["longest_wait"] >= LONG * pool["timeout"]:
        yield (
            f"{counted(pool['waiting'], 'acquire')} waiting, for up to"
            f" {duration(pool['longest_wait'])} of {duration(pool['timeout'])}"
            f" ({counted(pool['timeouts'], 'timeout')} so far); `carpool advise` tells of sizes"
        )
    if is_away(pool):
        yield f"the server cannot be reached: {pool['last_error']}"
    for pid, silence in stale(pool, at):
        yield f"process {pid} has told nothing for {duration(silence)}: it is stopped, or hangs"
