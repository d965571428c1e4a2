"""What `carpool status` prints of all pools of a host. Pure: a report in, lines out.

80 columns, and no codes for the terminal, whatever others have called their pools.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from carpool.pool.histogram import quantile
from carpool.telemetry import health
from carpool.telemetry.text import WIDTH, counted, cut, duration, printable, short

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from carpool.driver import Limits
    from carpool.pool.histogram import Counted
    from carpool.telemetry.figures import Part, Report, Total
    from carpool.telemetry.health import Servers

NOBODY = "No process of this user has a pool open"
COLUMNS = ("open", "idle", "leased", "pinned", "waiting", "resetting", "opening", "closing")
LABEL = 11  # columns
RECENT = 10  # seconds, of which a rate is the mean
STEPS = (0.5, 0.95, 0.99)


def lines(report: Report, servers: Servers, width: int = WIDTH) -> Iterator[str]:
    """Yield what is printed, the headline first and what is wrong last."""
    yield headline(report)
    yield from pools(report, servers, width)
    yield ""
    yield from verdict(report, servers)


def watched(report: Report, servers: Servers, width: int = WIDTH) -> Iterator[str]:
    """Yield what is printed again and again: what is wrong above what may not fit in."""
    yield f"{datetime.fromtimestamp(report['at']).astimezone():%H:%M:%S}  {headline(report)}"
    yield from verdict(report, servers)
    yield from pools(report, servers, width)


def pools(report: Report, servers: Servers, width: int = WIDTH) -> Iterator[str]:
    """Yield a block for each pool, and for the servers of pools that no process has."""
    for pool in report["pools"]:
        yield ""
        yield from (cut(line, width) for line in _pool(pool, servers))
    yield from (cut(line, width) for line in _unused(report, servers))


def verdict(report: Report, servers: Servers) -> Iterator[str]:
    """Say whether all is well; in full, as this is what a probe's log is searched for."""
    found = health.problems(report, servers)
    yield from (f"unhealthy: {printable(each)}" for each in found)
    if not found:
        yield "healthy" if report["pools"] else "nothing to tell of"


def headline(report: Report) -> str:
    """Say how much there is, and where it was found."""
    if not report["pools"]:
        return printable(f"{NOBODY} ({report['directory']})")
    many, processes = len(report["pools"]), counted(report["processes"], "process")
    broker = f" and the broker with pid {report['broker']['pid']}" if report["broker"] else ""
    return printable(f"{counted(many, 'pool')} in {processes}{broker} ({report['directory']})")


def document(report: Report, servers: Servers) -> dict[str, Any]:
    """Return what `--json` prints."""
    found = health.problems(report, servers)
    return {
        **report,
        "server": {name: _told(said) for name, said in servers.items()},
        "health": {"exit_status": health.exit_status(report, found), "problems": found},
    }


def rate(pool: Total) -> float:
    """Return the acquires per second of the last seconds."""
    latest = [acquires for _, _, acquires in pool["recent"][-RECENT:]]
    return sum(latest) / len(latest) if latest else 0.0


def reasons(counts: Mapping[str, int]) -> str:
    """Return counts by reason, the most frequent first.

    >>> reasons({"lifetime": 1, "idle": 1200})
    'idle 1,200, lifetime 1'
    """
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{reason} {count:,}" for reason, count in ordered)


def steps(counted: Counted) -> str:
    """Return what half, 95 % and 99 % of some times stay below; "" where there are none."""
    found = [(step, quantile(counted, step)) for step in STEPS]
    return ", ".join(f"{step:.0%} < {duration(time)}" for step, time in found if time is not None)


def server(said: Limits | str) -> Iterator[str]:
    """Say how many sessions the server has and allows."""
    if isinstance(said, str):
        yield f"does not answer: {said}"
        return
    in_use = "" if said.in_use is None else f", {said.in_use:,} of all clients"
    behind = f", behind {said.pooler}" if said.pooler else ""
    yield f"{counted(said.sessions, 'session')} of ours{in_use}{behind}"
    yield f"room for {said.room:,}: {', '.join(_bounds(said))}"


def _bounds(said: Limits) -> Iterator[str]:
    less = f" less {said.reserved:,} reserved" if said.reserved else ""
    yield f"max_connections {said.max_connections:,}{less}"
    for bound, whose in ((said.role_limit, "user"), (said.database_limit, "database")):
        if bound is not None:
            yield f"{bound:,} for the {whose}"


def _told(said: Limits | str) -> dict[str, Any]:
    return {"error": said} if isinstance(said, str) else {**said._asdict(), "room": said.room}


def _pool(pool: Total, servers: Servers) -> Iterator[str]:
    yield pool["name"] + (", PAUSED" if health.is_paused(pool) else "")
    yield f"  {', '.join(_what(pool))}"
    yield f"  {_sizes(pool)}"
    columns = [(name.upper(), pool[name]) for name in COLUMNS]  # type: ignore[literal-required] # these are keys
    yield "".join(f"{name:>{len(name) + 2}}" for name, _ in columns)
    yield "".join(f"{number:>{len(name) + 2},}" for name, number in columns)
    for label, text in _facts(pool):
        yield f"  {label:<{LABEL}}{text}"
    if pool["name"] in servers:
        yield from _server(servers[pool["name"]])
    if pool["parts"]:
        yield from _processes(pool)


def _what(pool: Total) -> Iterator[str]:
    yield f"{pool['vendor']} database {pool['database']}"
    if pool["aliases"]:
        yield f"alias {' and '.join(pool['aliases'])}"
    yield f"mode {pool['mode']}"
    yield f"share {pool['share']}"


def _sizes(pool: Total) -> str:
    sizes = f"min {pool['min_size']:,}, max {pool['max_size']:,}"
    if pool["share"] == "host":
        return f"{sizes} in all processes together"
    each = "each of " if len(pool["parts"]) > 1 else ""
    many, most = counted(len(pool["parts"]), "process"), counted(pool["capacity"], "connection")
    return f"{sizes} in {each}{many}: at most {most}"


def _facts(pool: Total) -> Iterator[tuple[str, str]]:
    """Yield labels and what is to say; nothing where there is nothing to say."""
    yield "acquires", f"{pool['acquires']:,}, {rate(pool):,.1f}/s; {_vain(pool)}"
    if pool["waiting"]:
        yield "waiting", f"{pool['waiting']:,} now, for up to {duration(pool['longest_wait'])}"
    for label, key in (("waits", "wait_time"), ("uses", "use_time"), ("connects", "create_time")):
        if told := steps(pool[key]):  # type: ignore[literal-required] # these are keys
            yield label, told
    yield "opened", f"{pool['opened']:,}, {pool['open_errors']:,} failed"
    yield "closed", f"{sum(pool['closed'].values()):,}{_by(pool['closed'])}"
    if pool["pins"]:
        yield "pins", f"{sum(pool['pins'].values()):,}{_by(pool['pins'])}"
    yield "resets", f"{pool['resets']:,}; {counted(pool['leaks'], 'leak')}{_bad(pool)}"
    yield "most", f"{pool['peak_leased']:,} leased, {pool['peak_waiting']:,} waiting, at once"
    if pool["last_error"]:
        yield "last error", pool["last_error"]


def _vain(pool: Total) -> str:
    waited, refused = f"{pool['waits']:,} waited", f"{pool['refusals']:,} refused"
    return f"{waited}, {pool['timeouts']:,} timed out, {refused}"


def _by(counts: Mapping[str, int]) -> str:
    return f": {reasons(counts)}" if counts else ""


def _bad(pool: Total) -> str:
    return f"; {pool['returns_bad']:,} came back broken" if pool["returns_bad"] else ""


def _processes(pool: Total) -> Iterator[str]:
    yield f"{'PID':>10}{'OPEN':>7}{'LEASED':>8}{'WAITING':>9}{'ACQUIRES':>13}  COMMAND"
    for part in sorted(pool["parts"], key=importance):
        own = part["figures"]
        yield (
            f"{part['pid']:>10}{own['open']:>7,}{own['leased']:>8,}{own['waiting']:>9,}"
            f"{own['acquires']:>13,}  {short(part['command'])}"
        )


def importance(part: Part) -> tuple[int, ...]:
    """Return what puts the processes that need a look first."""
    own = part["figures"]
    return (-own["waiting"], -own["leased"], -own["acquires"], part["pid"])


def _unused(report: Report, servers: Servers) -> Iterator[str]:
    """Tell of the servers in the settings whose pools no process has."""
    for name in sorted(servers.keys() - {pool["name"] for pool in report["pools"]}):
        yield ""
        yield f"{name}, which no process uses now"
        yield from _server(servers[name])


def _server(said: Limits | str) -> Iterator[str]:
    for label, text in zip(("server", ""), server(said), strict=False):  # it may say less
        yield f"  {label:<{LABEL}}{text}"
