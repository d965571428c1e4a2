"""What the page shows of a report: texts, tables and lines, so that the browser only renders.

Pure. Names, commands, errors and stacks are told as they are: whoever shows them must take them for
text, never for markup.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from carpool.telemetry.figures import STATES
from carpool.telemetry.text import counted, duration
from carpool.web import tables
from carpool.web.tables import NONE, brief

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from carpool.telemetry.figures import Report, Total

Json = dict[str, Any]
VENDORS = {
    "postgresql": "PostgreSQL",
    "mysql": "MySQL or MariaDB",
    "sqlite": "SQLite",
    "oracle": "Oracle",
}
PACE = 10  # seconds over which acquires are averaged
SECONDS = 60  # that lines show
NOBODY = "No process of this project uses a pool now. One shows up a second after its first query."


def only(report: Report, names: Collection[str] | None) -> Report:
    """Return what a report tells of the pools with these names; None: of all."""
    if names is None:
        return report
    pools = [each for each in report["pools"] if each["name"] in names]
    processes = {part["pid"] for each in pools for part in each["parts"]}
    return {**report, "pools": pools, "processes": len(processes)}


def page(report: Report, pid: int, needed: Collection[str], *, stacks: bool) -> Json:
    """Return what the page shows.

    `pid` is the process that serves it, `needed` the aliases of the databases without which it
    cannot: of users and the admin's log. `stacks`: whoever sees it may read the source lines of
    stacks; else it tells that there are some.
    """
    return {
        "at": report["at"],
        "summary": "; ".join(_summary(report)),
        "faults": report["faults"],
        "pools": [
            pool(each, report["at"], _way_out(each, pid, needed), stacks=stacks)
            for each in report["pools"]
        ],
    }


def _summary(report: Report) -> Iterator[str]:
    if report["processes"]:
        pools = counted(len(report["pools"]), "pool")
        processes = counted(report["processes"], "process")
        yield f"{pools} in {processes} of this project on this host"
    else:
        yield NOBODY
    if broker := report["broker"]:
        clients = counted(broker["clients"], "client")
        yield f"broker {broker['pid']}, up for {duration(broker['uptime'])}, {clients}"


def pool(total: Total, now: float, way_out: str, *, stacks: bool) -> Json:
    """Return what the page shows of one pool; `way_out`, `stacks`: see `_way_out` and `page`."""
    return {
        "name": total["name"],
        "title": ", ".join(total["aliases"]) or total["name"],
        "facts": list(_facts(total)),
        "paused": bool(total["paused"]),
        "way_out": way_out,
        "sizes": [total["min_size"], total["max_size"]],
        "obeyed": [each["figures"]["obeyed"] for each in total["parts"]],
        "error": total["last_error"],
        "now": list(_now(total)),
        "bar": _bar(total),
        "lines": list(_lines(total)),
        "small": list(_small(total)),
        "large": [tables.processes(total, now), tables.leases(total, stacks=stacks)],
    }


def _facts(total: Total) -> Iterator[str]:
    yield VENDORS.get(total["vendor"], total["vendor"])
    yield f"database {total['database']}"
    yield f"{total['mode']} mode"
    sizes = f"{total['min_size']:,} to {total['max_size']:,}"
    yield f"{sizes} for the host" if total["share"] == "host" else f"{sizes} in each process"


def _way_out(total: Total, pid: int, needed: Collection[str]) -> str:
    """Return the command that ends a pause of a pool that the page needs itself; "": it does not.

    One alias is enough, and one of this process is known to this project's settings.
    """
    for part in total["parts"]:
        aliases = part["figures"]["aliases"]
        if part["pid"] == pid and not set(needed).isdisjoint(aliases):
            return f"manage.py carpool resume {shlex.quote(aliases[0])}"
    return ""


def _now(total: Total) -> Iterator[Json]:
    recent = total["recent"][-PACE:]
    pace = sum(each[2] for each in recent) / len(recent) if recent else 0.0
    yield {"name": "open", "value": f"{total['open']:,}", "of": f"of {total['capacity']:,}"}
    yield {"name": "in use", "value": f"{total['leased']:,}", "of": f"{total['pinned']:,} pinned"}
    yield {"name": "waiting", "value": f"{total['waiting']:,}", "bad": total["waiting"] > 0}
    yield {"name": "longest wait", "value": brief(total["longest_wait"])}
    yield {"name": "acquires a second", "value": f"{pace:,.0f}" if recent else NONE}


def _bar(total: Total) -> Json:
    """Return the share of each state in what may be open, in percent."""
    states = ("leased", *(each for each in STATES if each != "leased"))
    parts: dict[str, int] = {each: total[each] for each in states}  # type: ignore[literal-required] # STATES are its names
    taken = sum(parts.values())
    parts["free"] = max(0, total["capacity"] - taken)
    most = max(total["capacity"], taken, 1)
    return {
        "label": f"{total['open']:,} of {total['capacity']:,} connections are open",
        "parts": [
            {"state": state, "count": f"{count:,}", "percent": round(100 * count / most, 3)}
            for state, count in parts.items()
        ],
    }


def _lines(total: Total) -> Iterator[Json]:
    for column, name in enumerate(("in use", "waiting")):
        values = [each[column] for each in total["recent"][-SECONDS:]]
        yield {
            "name": name,
            "values": [0] * (SECONDS - len(values)) + values,
            "peak": f"{max(values, default=0):,}",
        }


def _small(total: Total) -> Iterator[tables.Table]:
    yield tables.times(total)
    yield tables.acquires(total)
    yield tables.connections(total)
    yield tables.pins(total)
    if total["broker"] is not None:
        yield tables.broker(total["broker"])
