"""What the broker tells of itself, as text for 80 columns. Pure: an answer in, lines out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from carpool.telemetry.text import counted, cut, duration, short

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

STATES = ("idle", "leased", "opening", "resetting", "closing")  # what a connection is in one of
COLUMNS = ("open", "max", "idle", "leased", "pinned", "relayed", *STATES[2:])
Rates = dict[tuple[str, int], float]  # leases per second of a pool (with pid 0) and its processes


def lines(answer: Mapping[str, Any], rates: Rates | None = None) -> Iterator[str]:
    """Yield what a status says; with rates, leases per second take the place of their count."""
    broker, pools = answer["broker"], answer["pools"]
    yield (
        f"carpool {broker['version']}, broker with pid {broker['pid']}, up for"
        f" {duration(broker['uptime'])}, {counted(broker['clients'], 'client')}"
    )
    if not pools:
        yield "no pools: no process has asked for one"
    for pool in pools:
        yield ""
        yield from _pool(pool, rates)


def rates(before: Mapping[str, Any], after: Mapping[str, Any], seconds: float) -> Rates:
    """Work out what was leased in a second between two answers; what is new began at 0."""
    earlier = _leases(before)
    return {
        key: max(0, leases - earlier.get(key, 0)) / seconds
        for key, leases in _leases(after).items()
    }


def _leases(answer: Mapping[str, Any]) -> dict[tuple[str, int], int]:
    found = {}
    for pool in answer["pools"]:
        found[pool["id"], 0] = pool["leases"]
        for process in pool["processes"]:
            found[pool["id"], process["pid"]] = process["leases"]
    return found


def _pool(pool: Mapping[str, Any], rates: Rates | None) -> Iterator[str]:
    state = ", PAUSED" if pool["paused"] else ""
    yield cut(f"{pool['name']} ({pool['kind']}, pool {pool['id']}{state})")
    figures = {**pool, "open": sum(pool[each] for each in STATES), "max": pool["max_size"]}
    yield "  " + "".join(f"{name.upper():>8}" for name in COLUMNS[:-2]) + "  RESETTING  CLOSING"
    yield "  " + "".join(
        f"{figures[name]:>{width},}" for name, width in zip(COLUMNS, [8] * 7 + [11, 9], strict=True)
    )
    yield "  " + ", ".join(_events(pool, rates))
    if pool["last_error"]:
        yield cut(f"  last error: {pool['last_error']}")
    if pool["processes"]:
        yield from _processes(pool, rates)


def _events(pool: Mapping[str, Any], rates: Rates | None) -> Iterator[str]:
    if pool["waiting"]:
        yield f"{pool['waiting']:,} waiting, for up to {duration(pool['longest_wait'])}"
    else:
        yield "nobody waits"
    if rates is None:
        yield counted(pool["leases"], "lease")
    else:
        yield f"{rates.get((pool['id'], 0), 0.0):,.1f} leases/s"
    for name in ("steal", "reset", "error"):
        yield counted(pool[f"{name}s"], name)


def _processes(pool: Mapping[str, Any], rates: Rates | None) -> Iterator[str]:
    yield f"{'PID':>10}{'LEASED':>8}{'BIASED':>8}{'WAITING':>9}" + (
        f"{'LEASES':>12}  COMMAND" if rates is None else f"{'LEASES/S':>12}  COMMAND"
    )
    for each in sorted(pool["processes"], key=_importance):
        done = f"{each['leases']:,}"
        if rates is not None:
            done = f"{rates.get((pool['id'], each['pid']), 0.0):,.1f}"
        yield cut(
            f"{each['pid']:>10}{each['leased']:>8,}{each['biased']:>8,}{each['waiting']:>9,}"
            f"{done:>12}  {short(each['command'])}"
        )


def _importance(process: Mapping[str, Any]) -> tuple[int, ...]:
    return (-process["waiting"], -process["leased"], -process["leases"], process["pid"])
