"""Orders for all processes that have a pool: drain, pause, resume, resize.

They lie in a file beside the boards, at which every process looks each second. A pause is a state:
it holds for processes that start later, too. The others are events: they hold for processes that
were there. Pools of a broker are told by the broker.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from carpool.errors import OptionsError, PoolError
from carpool.host import control, places
from carpool.options import Options
from carpool.telemetry import board, files, gather
from carpool.telemetry.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from carpool.registry import AnyPool
    from carpool.telemetry.figures import Report, Total

Verb = Literal["drain", "pause", "resume", "resize"]
TIMEOUT = 10.0  # seconds for the broker's answer
LARGEST = 100_000  # connections; no server takes as many, and each is one more thing to count


class Order(TypedDict):
    """What has been ordered for one pool so far."""

    number: int  # of the last of these orders
    paused: bool
    drain: int  # the number of the last drain
    resize: tuple[int, int, int]  # the number of the last resize, min_size, max_size
    at: float


class NoSuchPool(LookupError):
    """Nobody has a pool of that name, or several have; the text lists what there is."""


NONE: Order = {"number": 0, "paused": False, "drain": 0, "resize": (0, 0, 0), "at": 0.0}
_read: dict[Path, tuple[object, dict[str, Order]]] = {}  # what was read last, and when it was made


def of(directory: str | None, pool: str) -> Order | None:
    """Return what has been ordered for a pool. Costs a look at a file that has not changed.

    Raises OSError, ValueError or `PoolError` if that cannot be known.
    """
    path = board.directory(directory) / "orders"
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    made = (found.st_ino, found.st_mtime_ns)
    if path not in _read or _read[path][0] != made:
        _read[path] = made, _all(path)
    return _read[path][1].get(pool)


def _all(path: Path) -> dict[str, Order]:
    """Read all orders. Raises OSError, ValueError for what is damaged."""
    try:
        found: Any = files.read_at("orders", path) or {}
        sound = all(each.keys() == NONE.keys() and each["number"] > 0 for each in found.values())
    except files.Unreadable as error:
        raise files.Unreadable(f"{path}: {error}") from None
    except (AttributeError, TypeError):
        sound = False
    if not sound:
        raise files.Unreadable(f"{path}: it has not the shape of orders")
    return dict(found)


def carry_out(order: Order, pool: AnyPool, since: int | None, *, paused: bool) -> None:
    """Do to a pool what was ordered after the order with the number `since`.

    None: it is new, so that only a pause is of concern. `paused`: an earlier order has paused it;
    what the application itself does is not undone.
    """
    if since is not None and order["drain"] > since:
        pool.drain()
    number, min_size, max_size = order["resize"]
    if since is not None and number > since:
        pool.resize(min_size, max_size)
    if order["paused"] and not paused:
        pool.pause()
    elif paused and not order["paused"]:
        pool.resume()


def checked(min_size: int, max_size: int) -> tuple[int, int]:
    """Return sizes that a pool can be given. Raises `OptionsError`.

    >>> checked(2, 20)
    (2, 20)
    """
    options = Options(min_size=min_size, max_size=max_size)
    if max_size > LARGEST:
        raise OptionsError(f"'max_size' is {max_size:,}; allowed: at most {LARGEST:,}")
    return options.min_size, options.max_size


def give(
    directory: str | None, verb: Verb, pool: str, *, sizes: tuple[int, int] | None = None
) -> int:
    """Give an order for the pool of that name; `sizes`: min_size and max_size, for "resize".

    Returns its number: a process whose `obeyed` is at least that has carried it out. For a pool of
    a broker it is 0, as that has been done on return. Raises `OptionsError` for sizes that cannot
    be, OSError, `carpool.PoolError` or ValueError if the order cannot be given.
    """
    if verb == "resize":
        if sizes is None:
            raise OptionsError("'resize' needs min_size and max_size")
        sizes = checked(*sizes)
    for total in gather.gather(directory)["pools"]:
        if total["name"] == pool and total["broker"] is not None:
            _tell_broker(directory, verb, total["broker"]["id"], sizes)
            return 0
    folder = board.directory(directory)
    with files.locked(folder / "lock"):
        return _write(folder / "orders", verb, pool, sizes or (0, 0))


def _write(path: Path, verb: Verb, pool: str, sizes: tuple[int, int]) -> int:
    try:
        kept = _all(path)
    except files.Unreadable:
        path.replace(path.with_name("orders.damaged"))
        kept = {}
    order: Order = {**NONE, **kept.get(pool, {})}  # type: ignore[typeddict-item] # `_all` has looked
    # By the clock, so that it goes on where a file was lost that processes have obeyed.
    number = max(int(time.time()), 1 + max((each["number"] for each in kept.values()), default=0))
    order["number"], order["at"] = number, time.time()
    if verb == "drain":
        order["drain"] = number
    elif verb == "resize":
        order["resize"] = (number, *sizes)
    else:
        order["paused"] = verb == "pause"
    files.replace("orders", path, {**kept, pool: order})
    return number


def _tell_broker(
    directory: str | None, verb: Verb, pool: str, sizes: tuple[int, int] | None
) -> None:
    place = places.find(directory)
    request: dict[str, Any] = {"version": place.folder.name, "want": verb, "pool": pool}
    if sizes is not None:
        request["sizes"] = sizes
    answer = control.ask(place, request, TIMEOUT)
    if not answer.get("ok"):
        raise PoolError(" ".join(map(str, answer.get("error", {}).get("args", ["no reason"]))))


def find(report: Report, word: str, alias: str | None = None) -> Total:
    """Return the pool with an alias, a name or a database. Raises `NoSuchPool`.

    `alias`: what somebody has said who means that pool.
    """
    for says in (_is_name, _has_alias, _is_database):
        found = [each for each in report["pools"] if says(each, word)]
        if len(found) == 1:
            return found[0]
        if found:
            names = _listed(each["name"] for each in found)
            raise NoSuchPool(f"{len(found)} pools are meant by {word!r}, name one:{names}")
    none = f"there is no pool {word!r}"
    if alias:
        none = f"the pool of {alias!r}, {word!r}, is in no process"
    if known := _listed(map(_described, report["pools"])):
        raise NoSuchPool(f"{none}; pools there are:{known}")
    raise NoSuchPool(
        f"{none}: no process with a pool is running (as told in {report['directory']})"
    )


def _listed(names: Iterable[str]) -> str:
    return "".join(f"\n  {printable(each)}" for each in names)


def _is_name(pool: Total, word: str) -> bool:
    return pool["name"] == word


def _has_alias(pool: Total, word: str) -> bool:
    return word in pool["aliases"]


def _is_database(pool: Total, word: str) -> bool:
    return word in (pool["database"], os.path.basename(pool["database"]))  # noqa: PTH119 - or no path


def _described(pool: Total) -> str:
    aliases = ", ".join(pool["aliases"])
    return f"{pool['name']} ({aliases})" if aliases else pool["name"]
