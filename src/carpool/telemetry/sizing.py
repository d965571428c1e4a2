"""How many connections a pool needs, and how many fit: the arithmetic of `carpool advise`. Pure.

Little's law: as many connections are busy on average as are acquired per second times the seconds
that each is used (https://doi.org/10.1287/opre.9.3.383). Busy ones and acquires are counted each
second, so the law tells how long a use takes now. Peaks are above the average, so the most that
were wanted at once count as well.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carpool.driver import Limits
    from carpool.telemetry.figures import PoolFigures, Total
    from carpool.telemetry.limits import Answer

HEADROOM = 1.25  # of what was wanted at once, as the next peak may be higher
ENOUGH_USES, ENOUGH_SECONDS = 1_000, 30  # below, figures tell of chance, or of the start
ENOUGH_LATELY = 60  # acquires in the seconds that are remembered; below, the site idles
OFTEN = 0.01  # of all acquires; fewer that wait are no sign of too few connections
MANY_PROCESSES = 4
LONG_USE = 0.05  # seconds; a statement takes less, a request that holds its connection more
SHAREABLE = ("postgresql", "mysql")  # vendors whose connections a host's processes can share
READS_SQL = (*SHAREABLE, "oracle")  # where the mode "transaction" can be had


class Deployment(NamedTuple):
    """Where a project runs: what the figures of one host cannot tell."""

    hosts: int = 1
    processes: int | None = None  # of each host; None: as many as run here


class Load(NamedTuple):
    """What a pool was used for. Those "in one process" are the figures of whichever had most."""

    rate: float  # acquires per second
    busy: float  # connections in use on average, in the same seconds
    most: int  # in use at once in one of these
    use: float  # seconds from acquire to release, on average
    leased_in_one: int  # most at once in one process, since it began
    waiting_in_one: int
    together: int  # leased and waiting, most at once in all processes of the host
    threads: int  # most at once in one process, times the aliases; 0: not known
    processes: int
    seconds: int  # that the rates are from
    uses: int  # since the processes began, and by those that have ended

    @property
    def idle(self) -> bool:
        """Whether nearly nobody has acquired lately."""
        return self.rate * self.seconds < ENOUGH_LATELY

    @property
    def thin(self) -> bool:
        """Whether too little has happened to conclude anything."""
        no_peak = self.leased_in_one + self.waiting_in_one <= 1
        few = self.uses < ENOUGH_USES or self.seconds < ENOUGH_SECONDS
        return few or (self.idle and no_peak)

    def wanted(self, share: str) -> int:
        """How many are wanted at once by one process, or by one host, without headroom.

        Who waits may be who has one a moment later, so no more than there are threads.
        """
        in_one = self._bounded(self.leased_in_one + self.waiting_in_one, "process")
        if share == "process":
            return in_one
        return self._bounded(max(in_one, self.together, ceil(self.busy)), share)

    def needed(self, share: str) -> int:
        """How many that makes with headroom."""
        return max(1, self._bounded(ceil(self.wanted(share) * HEADROOM), share))

    def _bounded(self, number: int, share: str) -> int:
        """Return no more than there are threads: each can use but one at once, of an alias."""
        bound = self.threads * (self.processes if share == "host" else 1)
        return min(number, bound) if bound else number


class Sizes(NamedTuple):
    """What to write into `OPTIONS["pool"]`."""

    min_size: int
    max_size: int
    mode: str
    share: str


def load_of(pool: Total) -> Load:
    """Return what the figures say of a pool's use."""
    each: list[PoolFigures] = [part["figures"] for part in pool["parts"]] or [pool]
    uses, recent = sum(pool["use_time"]["buckets"]), pool["recent"]
    acquires, length = sum(each for *_, each in recent), max(1, len(recent))
    busy = sum(leased for leased, *_ in recent)
    long = pool["use_time"]["sum"] / uses if uses else 0.0
    threads = max((part["threads"] for part in pool["parts"]), default=0)
    return Load(
        rate=acquires / length,
        busy=busy / length,
        most=max((leased for leased, *_ in recent), default=0),
        use=long if acquires < ENOUGH_LATELY else busy / acquires,
        leased_in_one=max(one["peak_leased"] for one in each),
        waiting_in_one=max(one["peak_waiting"] for one in each),
        together=max((leased + waiting for leased, waiting, _ in recent), default=0),
        threads=threads * max(1, len(pool["aliases"])),
        processes=len(pool["parts"]),
        seconds=len(recent),
        uses=uses,
    )


def others(limits: Limits) -> int:
    """Return how many sessions the server has that are none of ours."""
    return 0 if limits.in_use is None else max(0, limits.in_use - limits.sessions)


def room(limits: Limits) -> int:
    """Return how many sessions there may be of ours, on all hosts together."""
    return max(0, min(limits.room, limits.max_connections - limits.reserved - others(limits)))


def room_of_all(said: Sequence[Answer]) -> int:
    """Return how many sessions there may be of several pools of one server, together.

    Pools that log in alike are told the same sessions; a user's limit is for all of its databases.
    """
    ours = sum({each.login: each.sessions for each in said}.values())
    in_use = max(each.in_use or 0 for each in said)
    allowed = min(each.max_connections - each.reserved for each in said)
    users = {each.login.rpartition("/")[0]: each.role_limit for each in said}
    roles = [limit for limit in users.values() if limit is not None]
    by_users = sum(roles) if len(roles) == len(users) else allowed
    return max(0, min(allowed - max(0, in_use - ours), by_users))


def units(share: str, load: Load, deployment: Deployment) -> int:
    """Return how many there are of what `max_size` is for: processes, or hosts."""
    processes = deployment.processes or max(1, load.processes)
    return deployment.hosts * (processes if share == "process" else 1)


def max_size(load: Load, share: str, deployment: Deployment, fits: int | None) -> int:
    """Return the `max_size` to recommend; `fits` is the room for all, None: not known.

    At least 1, and no more than its part of the room; never less for more load.
    """
    return _limited(load.needed(share), units(share, load, deployment), fits)


def better_share(pool: Total, load: Load, deployment: Deployment, fits: int | None) -> str:
    """Return who should share: a host, where processes' own pools do not fit, or lie idle."""
    if pool["share"] == "host" or pool["vendor"] not in SHAREABLE:
        return pool["share"]
    processes = units("process", load, deployment._replace(hosts=1))
    needed = units("process", load, deployment) * load.needed("process")
    overfull = processes > 1 and fits is not None and needed > fits
    idle = processes >= MANY_PROCESSES and 2 * load.needed("host") <= needed // deployment.hosts
    return "host" if overfull or idle else "process"


def better_mode(pool: Total, load: Load, *, scarce: bool) -> str:
    """Return how long a lease should last: no request long, where connections are scarce."""
    long = pool["mode"] == "session" and load.use >= LONG_USE and scarce
    return "transaction" if long and pool["vendor"] in READS_SQL else pool["mode"]


def sizes(pool: Total, load: Load, deployment: Deployment, fits: int | None) -> Sizes:
    """Return what to recommend. Where there is too little to conclude from: what is there now."""
    if load.thin:
        share = pool["share"]
        most = _limited(pool["max_size"], units(share, load, deployment), fits)
        return Sizes(min(pool["min_size"], most), most, pool["mode"], share)
    share = better_share(pool, load, deployment, fits)
    most = max_size(load, share, deployment, fits)
    scarce = most < load.needed(share) or share != pool["share"] or often_waits(pool)
    if share == pool["share"] and _is_fine(pool["max_size"], load, share):
        most = _limited(pool["max_size"], units(share, load, deployment), fits)
    busy = round(load.busy / (max(1, load.processes) if share == "process" else 1))
    least = pool["min_size"] if abs(pool["min_size"] - busy) <= 1 else busy
    return Sizes(min(most, least), most, better_mode(pool, load, scarce=scarce), share)


def often_waits(pool: Total) -> bool:
    """Tell whether it happens again and again that there is no room."""
    return pool["waits"] >= OFTEN * max(1, pool["acquires"])


def _is_fine(size: int, load: Load, share: str) -> bool:
    """Tell whether a size is as good as what the arithmetic gives: nobody need change it."""
    return load.wanted(share) <= size <= ceil(load.needed(share) * HEADROOM)


def _limited(size: int, among: int, fits: int | None) -> int:
    return size if fits is None else max(1, min(size, fits // among))
