"""What the broker tells of itself when it is asked."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from carpool import __version__
from carpool.host import table
from carpool.host.visitor import Visit

if TYPE_CHECKING:
    from carpool.host.broker import Broker
    from carpool.host.house import House
    from carpool.host.slots import Slot
    from carpool.pool import Pool


def status(broker: Broker) -> dict[str, Any]:
    """Return the state of all pools, as the answer to a command."""
    return {
        "ok": True,
        "broker": {
            "pid": os.getpid(),
            "version": __version__,
            "uptime": monotonic() - broker.began,
            "linger": broker.linger,
            "clients": broker.clients(),
        },
        "pools": [_pool(each) for each in broker.houses.values()],
    }


def _pool(house: House) -> dict[str, Any]:
    lender = house.lender
    slots = lender.slots()
    used = [each for each in slots if each.get(table.USE) == table.USED]
    inner = lender.supply.pool.snapshot()
    now = monotonic()
    return {
        "id": house.id,
        "name": lender.name,
        "kind": house.kind,
        "path": str(house.path),
        "database": house.database,
        "user": house.user,
        "max_size": lender.options.max_size,
        "min_size": lender.options.min_size,
        "idle": inner.idle + len(slots) - len(used),
        "leased": len(used),
        "pinned": sum(bool(each.get(table.PINNED)) for each in used),
        "relayed": sum(lender.driver.relayed or isinstance(each.borrower, Visit) for each in used),
        "opening": inner.opening,
        "resetting": inner.resetting,
        "closing": inner.closing,
        "waiting": len(lender.waiting()),
        "longest_wait": max((now - each.since for each in lender.waiting()), default=0.0),
        "leases": lender.leases(),
        "waits": lender.waits,
        "peak_waiting": lender.peak_waiting,
        "steals": lender.steals,
        "resets": lender.supply.pool.get_stats()["resets"],
        "errors": lender.supply.errors,
        "last_error": str(lender.supply.last_error or ""),
        "paused": lender.paused,
        "counts": _counts(lender.supply.pool),
        "processes": _processes(house, slots),
    }


def _counts(pool: Pool[Any]) -> dict[str, Any]:
    for durations in (pool.meter.create_time, pool.meter.use_time, pool.meter.wait_time):
        durations.settle()
    return {**pool.counts(), "create_time": pool.meter.create_time.tell()}


def _processes(house: House, slots: list[Slot]) -> list[dict[str, Any]]:
    waiting = Counter(each.borrower.pid for each in house.lender.waiting())
    lines: dict[int, dict[str, Any]] = {}
    for pid in [*(each.pid for each in house.links.values()), *waiting]:
        lines.setdefault(
            pid,
            {
                "pid": pid,
                "command": _command(pid),
                "leased": 0,
                "biased": 0,
                "waiting": waiting[pid],
                "leases": 0,
            },
        )
    for slot in slots:
        line = lines.get(slot.borrower.pid) if slot.borrower else None
        if line is not None:
            line["leased" if slot.get(table.USE) == table.USED else "biased"] += 1
            line["leases"] += slot.get(table.LEASES)
    return list(lines.values())


def _command(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    return " ".join(each.decode(errors="replace") for each in words).strip()[:200]
