"""All boards and the broker's status, added up by pool."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from carpool.errors import PoolError
from carpool.host import control, places
from carpool.telemetry import board
from carpool.telemetry.figures import GAUGES, Total, added, nothing
from carpool.telemetry.publisher import publisher

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from carpool.telemetry.board import Departed
    from carpool.telemetry.figures import Part, PoolFigures, Process, Report

BROKER = 2.0  # seconds for its answer
MOST_LEASES = 20
SECONDS = 60


def gather(directory: str | None = None) -> Report:
    """Tell of all pools of this host, this process' own as they are at this moment.

    Raises `carpool.host.places.NoBroker` where the directory cannot be used. Thread-safe.
    """
    folder = board.directory(directory)
    faults: list[str] = []
    try:
        publisher.publish()
    except (OSError, PoolError) as error:
        faults.append(f"this process' own figures are old: {error}")
    try:
        processes, departed, more = board.look(folder)
        faults += more
    except OSError as error:
        processes, departed = [], {}
        faults.append(f"{folder}: {error}")
    broker = _broker(directory, faults)
    return {
        "at": time.time(),
        "directory": str(folder.parent),
        "pools": totals(processes, departed, broker.get("pools", [])),
        "processes": len(processes),
        "broker": broker.get("broker"),
        "faults": faults,
    }


def _broker(directory: str | None, faults: list[str]) -> dict[str, Any]:
    try:
        place = places.find(directory)
    except places.NoBroker:
        return {}  # there can be none, as with a path too long for sockets
    try:
        request = {"version": place.folder.name, "want": "status"}
        return control.ask(place, request, BROKER)
    except (FileNotFoundError, ConnectionRefusedError):
        return {}
    except (OSError, ValueError) as error:
        faults.append(f"the broker in {place.folder} does not answer: {error}")
        return {}


def totals(
    processes: Sequence[Process], departed: Departed, brokers: Sequence[Mapping[str, Any]]
) -> list[Total]:
    """Add up what processes tell, and what those have done that have ended."""
    parts: dict[str, list[Part]] = {}
    for process in sorted(processes, key=lambda each: each["started"]):
        for figures in process["pools"]:
            parts.setdefault(figures["name"], []).append(_part(process, figures))
    houses = {each["name"]: dict(each) for each in brokers}
    found = [_total(each, departed.get(name), houses.get(name)) for name, each in parts.items()]
    found += [_unused(house) for name, house in houses.items() if name not in parts]
    return sorted(found, key=lambda each: (each["aliases"][:1] != ["default"], each["name"]))


def _part(process: Process, figures: PoolFigures) -> Part:
    return {
        "pid": process["pid"],
        "command": process["command"],
        "settings": process["settings"],
        "at": time.time() if process["asleep"] else process["at"],
        "threads": process["threads"],
        "figures": figures,
    }


def _total(
    parts: list[Part], departed: Mapping[str, Any] | None, house: dict[str, Any] | None
) -> Total:
    each = [part["figures"] for part in parts]
    newest = each[-1]
    total: Any = dict(newest)
    added(total, *each, *([departed] if departed else []))
    for key in (*GAUGES, "peak_leased", "peak_waiting"):
        total[key] = sum(figures[key] for figures in each)  # type: ignore[literal-required] # GAUGES has no others
    total.update(
        aliases=list(dict.fromkeys(alias for figures in each for alias in figures["aliases"])),
        paused=any(figures["paused"] for figures in each),
        obeyed=min(figures["obeyed"] for figures in each),
        longest_wait=max(figures["longest_wait"] for figures in each),
        last_error=next((figures["last_error"] for figures in each if figures["last_error"]), ""),
        leases=_oldest(each),
        recent=_recent(each),
        capacity=sum(figures["max_size"] for figures in each),
        parts=parts,
        broker=house,
    )
    if newest["share"] == "host":
        _take_from_broker(total, house)
    return total  # type: ignore[no-any-return] # it has all keys by now


def _take_from_broker(total: Any, house: Mapping[str, Any] | None) -> None:
    """Take what is the broker's to know: server connections, and who waits."""
    total["capacity"] = total["max_size"]
    total["peak_leased"] = min(total["peak_leased"], total["max_size"])
    if house is None:
        return
    for key in ("idle", "leased", "pinned", "resetting", "opening", "closing", "waiting"):
        total[key] = house[key]
    for key in ("min_size", "max_size", "longest_wait", "paused"):
        total[key] = house[key]
    total["capacity"] = house["max_size"]
    total["open"] = sum(house[key] for key in ("idle", "leased", "resetting", "closing"))
    total["last_error"] = house["last_error"]
    for key in ("waits", "peak_waiting"):
        with suppress(KeyError):  # a broker of another version
            total[key] = house[key]
    counts = house.get("counts", {})
    for key in ("opened", "open_errors", "closed", "create_time"):
        with suppress(KeyError):  # a broker of another version
            total[key] = counts[key]


def _unused(house: dict[str, Any]) -> Total:
    """Tell of a pool that only the broker has at present."""
    total: Any = nothing(house["name"])
    total.update(
        vendor=house["kind"], database=house["database"], share="host", parts=[], broker=house
    )
    _take_from_broker(total, house)
    return total  # type: ignore[no-any-return] # it has all keys by now


def _oldest(several: Iterable[PoolFigures]) -> list[Any]:
    leases = [lease for figures in several for lease in figures["leases"]]
    return sorted(leases, key=lambda lease: -lease["held"])[:MOST_LEASES]


def _recent(several: Sequence[PoolFigures]) -> list[tuple[int, int, int]]:
    """Add up seconds; the newest ones are each other's."""
    length = min(SECONDS, max((len(each["recent"]) for each in several), default=0))
    sums = [[0, 0, 0] for _ in range(length)]
    for figures in several:
        for total, second in zip(reversed(sums), reversed(figures["recent"]), strict=False):
            for number, value in enumerate(second):
                total[number] += value
    return [(leased, waiting, acquires) for leased, waiting, acquires in sums]
