"""The shape of what is told of pools: by a process on the board, and of all of them together.

Times are in seconds; points in time are seconds since 1970, so that processes can compare them.
Figures that only grow count since the pool was made.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, TypedDict

from carpool.pool import histogram

if TYPE_CHECKING:
    from collections.abc import Mapping

    from carpool.pool.histogram import Counted

# Of `PoolFigures`: what grows, and what is of this moment; sums of processes are sums of these.
COUNTS = (
    "acquires",
    "waits",
    "timeouts",
    "refusals",
    "opened",
    "open_errors",
    "resets",
    "leaks",
    "returns_bad",
)
BY_REASON = ("closed", "pins")
HISTOGRAMS = ("wait_time", "use_time", "create_time")
STATES = ("idle", "leased", "resetting", "opening", "closing")  # each connection is in one
GAUGES = ("open", *STATES, "pinned", "waiting")


class Lease(TypedDict):
    """A connection that somebody has had for a while."""

    held: float  # seconds
    pid: int
    alias: str  # of the database, "" where it is not known
    thread: str  # its name, "" where it is not known
    pinned: str  # the reason; "": it is not
    acquired: str  # the stack that acquired it, told where `leak_warning` is set, else ""
    now: str  # the present stack of the thread that has it, "" where it is not known


class PoolFigures(TypedDict):
    """One pool of one process."""

    name: str  # what logs and errors call it
    aliases: list[str]  # of the databases in the settings that use it
    vendor: str  # "postgresql", "mysql", "sqlite", "oracle", or a class' name
    database: str
    mode: str
    share: str
    home: str  # the pool's id at its broker, with share: host; "": it is at none
    min_size: int
    max_size: int
    timeout: float
    paused: bool
    obeyed: int  # the number of the last order that it has carried out
    # at this moment
    open: int  # server connections: all of the following but those being opened
    idle: int
    leased: int
    resetting: int
    opening: int
    closing: int
    pinned: int  # of those leased
    waiting: int
    longest_wait: float
    # since the pool was made
    acquires: int
    waits: int  # acquires that had to queue up
    timeouts: int  # of those, the ones in vain
    refusals: int  # too many waiting already, a server that is down, a closed pool
    opened: int
    open_errors: int
    resets: int
    leaks: int
    returns_bad: int
    closed: dict[str, int]  # by reason: lifetime, idle, broken, drained, ...
    pins: dict[str, int]  # by reason
    wait_time: Counted  # of acquires that had to queue up
    use_time: Counted  # from acquire to release
    create_time: Counted
    peak_leased: int
    peak_waiting: int
    last_error: str  # of the last connect that failed, until one succeeds; "": none
    leases: list[Lease]  # the oldest ones, oldest first
    recent: list[tuple[int, int, int]]  # leased, waiting, acquires of each second, newest last


class Process(TypedDict):
    """One process, as it writes on its board."""

    pid: int
    command: str
    version: str  # carpool's
    settings: str  # DJANGO_SETTINGS_MODULE
    started: float
    at: float  # when it wrote this
    threads: int  # most threads that have been alive at once
    asleep: bool  # nobody has needed a connection since it wrote: it is still so
    pools: list[PoolFigures]


class Part(TypedDict):
    """One process' part in a pool."""

    pid: int
    command: str
    settings: str
    at: float
    threads: int
    figures: PoolFigures


class Total(PoolFigures):
    """One pool of the host: the sums of all processes', and of those that have ended."""

    capacity: int  # most server connections that all processes of now may open
    parts: list[Part]
    broker: dict[str, Any] | None  # what `carpool.host.status` tells of it, with share: host


class Report(TypedDict):
    """All that there is to know on a host."""

    at: float
    directory: str
    pools: list[Total]
    processes: int
    broker: dict[str, Any] | None  # pid, version, uptime, linger, clients
    faults: list[str]  # what could not be read, and why


def added(into: dict[str, Any], *several: Mapping[str, Any]) -> dict[str, Any]:
    """Set what grows, in figures, to the sum of several ones'; returns them."""
    for key in COUNTS:
        into[key] = sum(each[key] for each in several)
    for key in BY_REASON:
        total: Counter[str] = Counter()
        for each in several:
            total.update(each[key])
        into[key] = dict(total)
    for key in HISTOGRAMS:
        into[key] = histogram.together(each[key] for each in several)
    return into


def nothing(name: str) -> PoolFigures:
    """Return the figures of a pool that nobody has used."""
    empty: Any = {
        "name": name,
        "aliases": [],
        "vendor": "",
        "database": "",
        "mode": "",
        "share": "process",
        "home": "",
        "min_size": 0,
        "max_size": 0,
        "timeout": 0.0,
        "paused": False,
        "obeyed": 0,
        "longest_wait": 0.0,
        **dict.fromkeys((*GAUGES, *COUNTS, "peak_leased", "peak_waiting"), 0),
        **{key: {} for key in BY_REASON},
        **{key: histogram.nothing() for key in HISTOGRAMS},
        "last_error": "",
        "leases": [],
        "recent": [],
    }
    return empty  # type: ignore[no-any-return] # it has all keys
