"""`carpool advise`: which sizes a pool should have, and why. Pure: a report in, text out.

The arithmetic itself is in `sizing`.
"""

from __future__ import annotations

import textwrap
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from typing import TYPE_CHECKING, Any

from carpool.driver import Limits
from carpool.pool.histogram import quantile
from carpool.telemetry import sizing
from carpool.telemetry.limits import Answer
from carpool.telemetry.sizing import Deployment, Load, Sizes
from carpool.telemetry.text import WIDTH, counted, duration, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from carpool.telemetry.figures import Report, Total
    from carpool.telemetry.health import Servers

NOTHING = (
    "No process of this user has a pool open, so there is nothing to advise. Start the site, let "
    "it have its usual load for some minutes, and ask again."
)
MANY_PINS = 0.1  # of all leases
FEW = 10  # acquires per second; below, the digit after the point tells something
MOST_WITHIN = 0.95  # of the waits


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what the figures of one host cannot tell."""
    parser.add_argument(
        "--hosts",
        type=_at_least_one,
        default=1,
        metavar="N",
        help="how many hosts run the site (default: 1)",
    )
    parser.add_argument(
        "--processes",
        type=_at_least_one,
        metavar="N",
        help="how many processes each host has (default: as many as run here now)",
    )


def deployment(given: Namespace) -> Deployment:
    """Return what those arguments say."""
    return Deployment(given.hosts, given.processes)


def _at_least_one(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return int(text)


def lines(report: Report, servers: Servers, where: Deployment, width: int = WIDTH) -> Iterator[str]:
    """Yield what is printed; `servers` has what the server says, or an error, by pools' names."""
    if not report["pools"]:
        yield from textwrap.wrap(NOTHING, width)
    for number, advice in enumerate(of_all(report, servers, where)):
        yield from [""] if number else []
        yield from _headline(advice.pool, width)
        for label, text in advice.paragraphs():
            yield from _paragraph(label, printable(text), width)
    for fault in report["faults"]:
        yield from textwrap.wrap(f"Left out: {printable(fault)}", width)


def document(report: Report, servers: Servers, where: Deployment) -> dict[str, Any]:
    """Return what `--json` prints."""
    return {
        "deployment": where._asdict(),
        "pools": [each.document() for each in of_all(report, servers, where)],
        "faults": report["faults"],
    }


def of_all(report: Report, servers: Servers, where: Deployment) -> list[Advice]:
    """Return what is to say of each pool, as one of those that its server has room for."""
    alone = [Advice(pool, servers.get(pool["name"]), where) for pool in report["pools"]]
    return [each.among([other for other in alone if other.address]) for each in alone]


def _headline(pool: Total, width: int) -> Iterator[str]:
    aliases = f" ({', '.join(pool['aliases'])})" if pool["aliases"] else ""
    yield from textwrap.wrap(printable(pool["name"] + aliases), width)


LABEL = 10  # columns


def _paragraph(label: str, text: str, width: int) -> Iterator[str]:
    begin = f"  {label:<{LABEL}}"
    yield from textwrap.wrap(
        begin + text, width, subsequent_indent=" " * len(begin), break_on_hyphens=False
    )


class Advice:
    """What is to say of one pool. `server` is None where nobody has asked it.

    `crowd`: what is to say of the pools of the same server, of each by itself; this one, too.
    """

    def __init__(
        self,
        pool: Total,
        server: Limits | str | None,
        where: Deployment,
        crowd: Sequence[Advice] = (),
    ) -> None:
        self.pool, self.server, self.where, self.crowd = pool, server, where, crowd
        self.load: Load = sizing.load_of(pool)
        self.limits = server if isinstance(server, Limits) else None
        self.address = server.address if isinstance(server, Answer) else ""
        self.room = sizing.room(self.limits) if self.limits else None
        self.sizes: Sizes = sizing.sizes(pool, self.load, where, self.room)
        self.room_of_all = sizing.room_of_all(_answers(crowd)) if crowd else 0
        self.fits = self._part()
        if self.fits != self.room:
            self.sizes = sizing.sizes(pool, self.load, where, self.fits)

    def among(self, others: Sequence[Advice]) -> Advice:
        """Return what is to say of the pool where it is one of these."""
        crowd = [each for each in others if each.address == self.address]
        return Advice(self.pool, self.server, self.where, crowd) if len(crowd) > 1 else self

    def most(self, share: str, size: int) -> int:
        """Return how many connections there may be on all hosts with that `max_size`."""
        return sizing.units(share, self.load, self.where) * size

    @property
    def now(self) -> int:
        """How many there may be as it is."""
        return self.most(self.pool["share"], self.pool["max_size"])

    def _part(self) -> int | None:
        """Return the room that there is beside the others of the server, if all are as advised."""
        wanted = sum(each.most(each.sizes.share, each.sizes.max_size) for each in self.crowd)
        if self.room is None or wanted <= self.room_of_all:
            return self.room
        mine = self.most(self.sizes.share, self.sizes.max_size)
        return min(self.room, self.room_of_all * mine // wanted)

    def paragraphs(self) -> Iterator[tuple[str, str]]:
        """Yield labels and texts, of which the last are warnings."""
        yield "load", self._load()
        yield "peaks", self._peaks()
        yield "waits", self._waits()
        yield "server", self._server()
        yield "now", self._sum(self.pool["share"], self.pool["max_size"], self.room)
        yield "advice", self._advice()
        for text in self.warnings():
            yield "WARNING", text

    def document(self) -> dict[str, Any]:
        """Return all of it for programs."""
        return {
            "name": self.pool["name"],
            "aliases": self.pool["aliases"],
            "load": {**self.load._asdict(), "thin": self.load.thin},
            "server": self.limits._asdict() if self.limits else {"error": self.server},
            "room": self.room,
            "room_beside_others": self.fits,
            "recommended": self.sizes._asdict(),
            "text": [f"{label}: {text}" for label, text in self.paragraphs()],
            "warnings": list(self.warnings()),
        }

    # ------------------------------------------------------------ the paragraphs

    def _load(self) -> str:
        load = self.load
        if not load.seconds:
            return "No second of it has been recorded yet."
        product = f"{_rate(load.rate)} x {duration(load.busy / load.rate)} = " if load.rate else ""
        return (
            f"{product}{load.busy:,.1f} connections in use on average in the last "
            f"{counted(load.seconds, 'second')}, up to {load.most:,} at once"
            f"{'' if load.rate else '; nobody acquired one'}."
        )

    def _peaks(self) -> str:
        load = self.load
        threads = f", which has had up to {counted(load.threads, 'thread')}" if load.threads else ""
        one = load.processes <= 1
        together = "at once in all" if one else f"in all {load.processes:,} processes together"
        return (
            f"At the worst {load.leased_in_one:,} in use and {load.waiting_in_one:,} waiting in "
            f"one process{threads}; lately up to {load.together:,} {together}."
        )

    def _waits(self) -> str:
        pool = self.pool
        if not pool["waits"]:
            return f"None of {counted(pool['acquires'], 'acquire')} had to wait."
        share = pool["waits"] / max(1, pool["acquires"])
        most = quantile(pool["wait_time"], MOST_WITHIN)
        within = "" if most is None else f", {MOST_WITHIN:.0%} of these for less than "
        return (
            f"{pool['waits']:,} of {counted(pool['acquires'], 'acquire')} ({share:.1%}) had to "
            f"wait{within}{duration(most) if within and most is not None else ''}; "
            f"{pool['timeouts']:,} gave up after {duration(pool['timeout'])}."
        )

    def _server(self) -> str:
        limits = self.limits
        if limits is None:
            why = f": {self.server}" if self.server else ""
            return f"It does not say how many sessions it allows{why}."
        text = f"max_connections {limits.max_connections:,} - {limits.reserved:,} reserved"
        text += f" - {sizing.others(limits):,} of others"
        bounds = [(limits.role_limit, "user"), (limits.database_limit, "database")]
        limited = [
            f", at most {most:,} for the {whose}" for most, whose in bounds if most is not None
        ]
        text += f"{''.join(limited)} = {self.room:,} for this pool on all hosts."
        if self.crowd:
            names = ", ".join(each.pool["name"] for each in self._mine_first()[1:])
            text += f" Together with its other pools ({names}): {self.room_of_all:,}."
        return text

    def _sum(self, share: str, size: int, fits: int | None) -> str:
        """Say what the servers get to see of pools of that size, if all are full."""
        processes = sizing.units(share, self.load, Deployment(1, self.where.processes))
        of = [counted(self.where.hosts, "host")]
        if share == "process":
            of.append(counted(processes, "process"))
        allowed = "" if fits is None else f" of {fits:,}"
        factors = " x ".join([*of, f"max_size {size:,}"])
        return f"{factors} = {self.most(share, size):,}{allowed}."

    def _advice(self) -> str:
        sizes = self.sizes
        given = ", ".join(f"{name} {value}" for name, value in sizes._asdict().items())
        same = "as it is" if self._is_same() else "change it"
        reasons = " ".join(self._reasons())
        return f"{given} ({same}). {reasons} {self._sum(sizes.share, sizes.max_size, self.fits)}"

    def _is_same(self) -> bool:
        return all(self.pool[name] == value for name, value in self.sizes._asdict().items())  # type: ignore[literal-required] # its fields are keys

    def _reasons(self) -> Iterator[str]:
        pool, load, sizes = self.pool, self.load, self.sizes
        if load.thin:
            yield (
                f"Too little has happened for more advice ({counted(load.uses, 'use')} since the "
                f"start, {counted(round(load.rate * load.seconds), 'acquire')} in the last "
                f"{counted(load.seconds, 'second')}; wanted: {sizing.ENOUGH_USES:,}, and "
                f"{sizing.ENOUGH_LATELY} in {sizing.ENOUGH_SECONDS} or more): ask again under the "
                "usual load."
            )
            return
        unit = "host" if sizes.share == "host" else "process"
        wanted, needed = load.wanted(sizes.share), load.needed(sizes.share)
        yield f"Up to {wanted:,} were wanted at once in one {unit}, with headroom {needed:,}."
        if sizes.max_size < needed:
            yield f"Only {sizes.max_size:,} fit, so some will wait."
        if sizes.share != pool["share"]:
            yield (
                "With 'share': 'host' the processes of a host have one pool together, in place of "
                "one each that is mostly idle, or does not fit (docs/host.md)."
            )
        if sizes.mode != pool["mode"]:
            yield (
                f"A connection is held for {duration(load.use)} on average; in transaction mode "
                "only for as long as a statement or a transaction takes (docs/modes.md)."
            )

    # --------------------------------------------------------------- the warnings

    def warnings(self) -> Iterator[str]:
        """Yield what is wrong now, or cannot be put right by sizes."""
        yield from self._misfits()
        pool, pins = self.pool, sum(self.pool["pins"].values())
        if pool["timeouts"] or pool["refusals"]:
            yield (
                f"{counted(pool['timeouts'] + pool['refusals'], 'acquire')} got no connection: "
                f"{pool['timeouts']:,} in time, {pool['refusals']:,} refused at once."
            )
        if pool["mode"] != "session" and pins > MANY_PINS * max(1, pool["acquires"]):
            reasons = ", ".join(f"{why} {count:,}" for why, count in pool["pins"].items())
            yield (
                f"{pins:,} of {counted(pool['acquires'], 'lease')} were pinned until the end of "
                f"the request ({reasons}), as in session mode; docs/modes.md says how to avoid it."
            )
        if self.limits and self.limits.pooler:
            yield (
                f"{self.limits.pooler} stands between the server and this pool: its own limits "
                "count as well, and are not known here."
            )

    def _misfits(self) -> Iterator[str]:
        if self.room is None or self.fits is None or self.limits is None:
            return
        now, together = self.now, sum(each.now for each in self.crowd)
        if now > self.room:
            yield (
                f"The sum cannot fit: {now:,} connections may be opened, {self.room:,} can be "
                "had. When all are needed, the server refuses some."
            )
        elif together > self.room_of_all:
            pools = ", ".join(f"{each.pool['name']} {each.now:,}" for each in self._mine_first())
            yield (
                f"The pools of this server cannot fit together: {together:,} connections may be "
                f"opened ({pools}), {self.room_of_all:,} can be had."
            )
        least = sizing.units(self.sizes.share, self.load, self.where)
        if least > self.fits:
            yield (
                f"Not even one connection for each fits: {least:,} are needed, {self.fits:,} can "
                "be had. Raise the server's limit, or run fewer processes."
            )
        if self.limits.sessions > max(now, self.pool["open"]):
            yield (
                f"The server has {self.limits.sessions:,} sessions of ours, but "
                f"{counted(self.where.hosts, 'host')} can have {now:,} at most: what else logs in "
                "as this user? If there are more hosts, say so by --hosts."
            )

    def _mine_first(self) -> list[Advice]:
        return sorted(self.crowd, key=lambda each: each.pool["name"] != self.pool["name"])


def _rate(rate: float) -> str:
    return f"{rate:,.{0 if rate >= FEW else 1}f} acquires/s"


def _answers(crowd: Iterable[Advice]) -> list[Answer]:
    return [each.limits for each in crowd if isinstance(each.limits, Answer)]
