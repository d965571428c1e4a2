"""The tables of the page: caption, columns, rows of texts. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from carpool.pool.histogram import quantile
from carpool.telemetry.text import duration, short

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from carpool.telemetry.figures import Lease, Part, Total

Cell = str | dict[str, Any]  # a text, or {"stacks": [[title, text], ...]}
Table = dict[str, Any]
QUANTILES = {"median": 0.5, "99 %": 0.99}
TIMES = {"wait_time": "wait", "use_time": "use", "create_time": "connect"}
ACQUIRES = {
    "acquires": "in all",
    "waits": "had to wait",
    "timeouts": "timed out",
    "refusals": "refused",
    "leaks": "leaked",
}
CONNECTIONS = {
    "opened": "opened",
    "open_errors": "failed to open",
    "resets": "reset",
    "returns_bad": "came back broken",
}
BROKER = {
    "leases": "leases",
    "steals": "taken from idle ones",
    "relayed": "relayed (TLS)",
    "errors": "failed to open",
}
NONE = "\u2013"  # a dash
HIDDEN = "not yours to see"  # source lines can hold secrets, and tell how a site works


def brief(seconds: float | None) -> str:
    """Return a time; a dash for none.

    >>> brief(0.012)
    '12 ms'
    """
    return duration(seconds) if seconds else NONE


def table(
    caption: str,
    head: Mapping[str, str],
    rows: Iterable[tuple[str, list[Cell]]],
    empty: str = "",
) -> Table:
    """Return a table; `head` tells columns and their kind, `empty` what to say without rows.

    The first text of a row is its key, by which the page knows it again.
    """
    return {
        "caption": caption,
        "head": [list(each) for each in head.items()],
        "rows": [{"key": key, "cells": cells} for key, cells in rows],
        "empty": empty,
    }


def times(total: Total) -> Table:
    """Return how long things took, estimated from histograms."""
    counted: dict[str, Any] = {name: total[name] for name in TIMES}  # type: ignore[literal-required] # names of the TypedDict
    return table(
        "Times",
        {"": "text"} | dict.fromkeys(QUANTILES, "number"),
        (
            (name, [title, *(brief(quantile(counted[name], each)) for each in QUANTILES.values())])
            for name, title in TIMES.items()
        ),
    )


def acquires(total: Total) -> Table:
    """Return how acquires went."""
    return _counts("Acquires", ((title, total[name]) for name, title in ACQUIRES.items()))  # type: ignore[literal-required] # as above


def connections(total: Total) -> Table:
    """Return what became of connections."""
    found = {title: total[name] for name, title in CONNECTIONS.items()}  # type: ignore[literal-required] # as above
    closed = {f"closed: {reason}": count for reason, count in _by_count(total["closed"])}
    return _counts("Connections", (found | closed).items())


def pins(total: Total) -> Table:
    """Return why connections were pinned."""
    return _counts("Pins", _by_count(total["pins"]), "Nothing has pinned a connection.")


def broker(told: Mapping[str, Any]) -> Table:
    """Return what the broker tells of a pool."""
    return _counts("Broker", ((title, told.get(name, 0)) for name, title in BROKER.items()))


def _counts(caption: str, found: Iterable[tuple[str, int]], empty: str = "") -> Table:
    rows: list[tuple[str, list[Cell]]] = [(name, [name, f"{count:,}"]) for name, count in found]
    return table(caption, {"": "text", "count": "number"}, rows, empty)


def _by_count(found: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(found.items(), key=lambda each: (-each[1], each[0]))


def processes(total: Total, now: float) -> Table:
    """Return the processes that use a pool, those in need first."""
    return table(
        "Processes",
        {
            "pid": "number",
            "open": "number",
            "in use": "number",
            "waiting": "number",
            "told": "number",
            "command": "text",
        },
        (_process(each, now) for each in sorted(total["parts"], key=_importance)),
        "No process uses this pool now.",
    )


def _importance(part: Part) -> tuple[int, ...]:
    return (-part["figures"]["waiting"], -part["figures"]["leased"], part["pid"])


def _process(part: Part, now: float) -> tuple[str, list[Cell]]:
    figures, pid = part["figures"], str(part["pid"])
    state = " (paused)" if figures["paused"] else ""
    return pid, [
        pid,
        *(f"{figures[each]:,}" for each in ("open", "leased", "waiting")),
        f"{max(0.0, now - part['at']):.0f} s ago",
        short(part["command"]) + state,
    ]


def leases(total: Total, *, stacks: bool) -> Table:
    """Return who has had a connection for long, the longest first; with their stacks, or not."""
    return table(
        "Oldest leases",
        {
            "held": "number",
            "pid": "number",
            "thread": "text",
            "database": "text",
            "pinned by": "text",
            "stack": "text",
        },
        ((_key(each), _lease(each, stacks=stacks)) for each in total["leases"]),
        "Nobody has held a connection for long.",
    )


def _key(lease: Lease) -> str:
    return f"{lease['pid']} {lease['thread']} {lease['alias']}"


def _lease(lease: Lease, *, stacks: bool) -> list[Cell]:
    return [
        brief(lease["held"]),
        str(lease["pid"]),
        lease["thread"] or NONE,
        lease["alias"] or NONE,
        lease["pinned"] or NONE,
        _stack(lease, shown=stacks),
    ]


def _stack(lease: Lease, *, shown: bool) -> Cell:
    told = {"acquired at": lease["acquired"], "now at": lease["now"]}
    found = [[title, text] for title, text in told.items() if text]
    if not found:
        return NONE
    return {"stacks": found} if shown else HIDDEN
