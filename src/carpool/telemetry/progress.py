"""How far an order to a pool has come. Pure: a pool's figures in, words out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from carpool.errors import OptionsError
from carpool.telemetry import orders
from carpool.telemetry.text import counted

if TYPE_CHECKING:
    from carpool.telemetry.figures import Total

Verb: TypeAlias = Literal["drain", "pause", "resume", "resize"]

LEFT = (("leased", "in use"), ("open", "being closed"))  # what a pause waits for


class Undone(Exception):
    """Somebody has given another order since; the message says which."""


class Order(NamedTuple):
    """An order that has been given."""

    verb: Verb
    pool: str  # its name
    number: int  # 0: it was the broker that was told, and it has obeyed
    sizes: tuple[int, int] | None = None  # min and max, to resize
    was_paused: bool | None = None  # before; None: not known


def sizes(least: str | int, most: str | int) -> tuple[int, int]:
    """Return the sizes that a pool may be given. Raises `OptionsError`.

    >>> sizes("2", "20")
    (2, 20)
    """
    try:
        given = int(least), int(most)
    except ValueError:
        raise OptionsError(f"{least!r} and {most!r}: both must be whole numbers") from None
    return orders.checked(*given)


def waits_for(order: Order, pool: Total) -> str:
    """Say what an order still waits for; "": nothing. Raises `Undone`."""
    silent = [part for part in pool["parts"] if part["figures"]["obeyed"] < order.number]
    if silent and order.number:
        return _told(len(pool["parts"]), [part["pid"] for part in silent])
    if order.verb != "pause":
        return ""
    return _in_use(pool) if order.number else _in_use_of_broker(pool)


def _told(many: int, silent: list[int]) -> str:
    if many == 1:
        return f"waiting for process {silent[0]}"
    pids = ", ".join(map(str, silent))
    return f"{many - len(silent):,} of {many:,} processes told, waiting for {pids}"


def outcome(order: Order, pool: Total) -> str:
    """Say what an order that waits for nothing has done."""
    processes = counted(len(pool["parts"]), "process")
    if order.verb == "pause":
        return f"Paused: no connection of {order.pool} is open; resume lets acquires go on"
    if order.verb == "resume" and order.was_paused is False:
        return f"{order.pool} was not paused: nothing has changed in {processes}"
    if order.verb == "resume":
        return f"Resumed: {order.pool} in {processes}"
    if order.verb == "drain":
        in_use = counted(pool["leased"], "connection")
        return f"Drained: {order.pool} in {processes}; {in_use} in use: replaced once given back"
    least, most = order.sizes or (pool["min_size"], pool["max_size"])
    return f"Resized: {order.pool} to min {least:,}, max {most:,} in {processes}"


def _in_use(pool: Total) -> str:
    if resumed := [part["pid"] for part in pool["parts"] if not part["figures"]["paused"]]:
        raise Undone(f"somebody has resumed {pool['name']}: pid {', '.join(map(str, resumed))}")
    for key, what in LEFT:
        having = [part["figures"][key] for part in pool["parts"] if part["figures"][key]]  # type: ignore[literal-required] # these are keys
        if having:
            many, processes = counted(sum(having), "connection"), counted(len(having), "process")
            return f"waiting for {many} {what} in {processes}"
    return ""


def _in_use_of_broker(pool: Total) -> str:
    if pool["broker"] is None:
        return ""  # it has ended, and its connections with it
    if not pool["broker"]["paused"]:
        raise Undone(f"somebody has resumed {pool['name']}")
    for key, what in LEFT:
        if having := pool[key]:  # type: ignore[literal-required] # these are keys
            return f"waiting for {counted(having, 'connection')} {what}"
    return ""
