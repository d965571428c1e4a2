"""How many connections a pool needs, and how many fit: the arithmetic of `carpool advise`. Pure.

Little's law: as many connections are busy on average as are acquired per second times the seconds
that each is used (https://doi.org/10.1287/opre.9.3.383). Peaks are above the average, so the most
that were wanted at once count as well.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from carpool.driver import Limits
    from carpool.telemetry.figures import PoolFigures, Total

HEADROOM = 1.25  # of what was wanted at once, as the next peak may be higher
ENOUGH_USES, ENOUGH_SECONDS = 1_000, 30  # below, figures tell of chance, or of the start
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
    busiest: float  # in the busiest second
    busiest_in_one: float  # likewise, in one process
    use: float  # seconds from acquire to release, on average
    leased_in_one: int  # most at once in one process
    waiting_in_one: int
    together: int  # leased and waiting, most at once in all processes of the host
    threads: int  # most at once in one process, times the aliases; 0: not known
    processes: int
    seconds: int  # that the rates are from
    uses: int  # that the mean is from

    @property
    def busy(self) -> float:
        """How many connections are busy on average."""
        return self.rate * self.use

    @property
    def thin(self) -> bool:
        """Whether too little has happened to conclude anything."""
        return self.uses < ENOUGH_USES or self.seconds < ENOUGH_SECONDS

    def wanted(self, share: str) -> int:
        """How many are wanted at once by one process, or by one host, without headroom.

        Who waits may be who has one a moment later, so no more than there are threads.
        """
        in_one = self.leased_in_one + self.waiting_in_one
        in_one = min(in_one, self.threads) if self.threads else in_one
        if share == "host":
            return max(in_one, self.together, ceil(self.busiest * self.use))
        wanted = max(in_one, ceil(self.busiest_in_one * self.use))
        return min(wanted, self.threads) if self.threads else wanted

    def needed(self, share: str) -> int:
        """How many that makes with headroom; each thread can use but one at once, of an alias."""
        needed = max(1, ceil(self.wanted(share) * HEADROOM))
        bound = self.threads * (self.processes if share == "host" else 1)
        return max(1, min(needed, bound)) if bound else needed


class Sizes(NamedTuple):
    """What to write into `OPTIONS["pool"]`."""

    min_size: int
    max_size: int
    mode: str
    share: str


def load_of(pool: Total) -> Load:
    """Return what the figures say of a pool's use."""
    each: list[PoolFigures] = [part["figures"] for part in pool["parts"]] or [pool]
    uses = sum(pool["use_time"]["buckets"])
    seconds = [acquires for _, _, acquires in pool["recent"]]
    threads = max((part["threads"] for part in pool["parts"]), default=0)
    return Load(
        rate=sum(seconds) / len(seconds) if seconds else 0.0,
        busiest=max(seconds, default=0),
        busiest_in_one=max((n for one in each for *_, n in one["recent"]), default=0),
        use=pool["use_time"]["sum"] / uses if uses else 0.0,
        leased_in_one=max(one["peak_leased"] for one in each),
        waiting_in_one=max(one["peak_waiting"] for one in each),
        together=max((leased + waiting for leased, waiting, _ in pool["recent"]), default=0),
        threads=threads * max(1, len(pool["aliases"])),
        processes=len(pool["parts"]),
        seconds=len(seconds),
        uses=uses,
    )


def others(limits: Limits) -> int:
    """Return how many sessions the server has that are none of ours."""
    return 0 if limits.in_use is None else max(0, limits.in_use - limits.sessions)


def room(limits: Limits) -> int:
    """Return how many sessions there may be of ours, on all hosts together."""
    return max(0, min(limits.room, limits.max_connections - limits.reserved - others(limits)))


def units(share: str, load: Load, deployment: Deployment) -> int:
    """Return how many there are of what `max_size` is for: processes, or hosts."""
    processes = deployment.processes or max(1, load.processes)
    return deployment.hosts * (processes if share == "process" else 1)


def max_size(load: Load, share: str, deployment: Deployment, fits: int | None) -> int:
    """Return the `max_size` to recommend; `fits` is the room for all, None: not known.

    At least 1, and no more than its part of the room; never less for more load.
    """
    needed = load.needed(share)
    return needed if fits is None else max(1, min(needed, fits // units(share, load, deployment)))


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
        share, most = pool["share"], pool["max_size"]
        if fits is not None:
            most = max(1, min(most, fits // units(share, load, deployment)))
        return Sizes(min(pool["min_size"], most), most, pool["mode"], share)
    share = better_share(pool, load, deployment, fits)
    most = max_size(load, share, deployment, fits)
    scarce = pool["waits"] > 0 or most < load.needed(share) or share != pool["share"]
    busy = load.busy / (max(1, load.processes) if share == "process" else 1)
    return Sizes(min(most, round(busy)), most, better_mode(pool, load, scarce=scarce), share)


def total(counts: Iterable[int]) -> str:
    """Write a product of those that are not 1.

    >>> total([1, 4, 10]), total([1])
    ('4 x 10 = 40', '1')
    """
    factors = [each for each in counts if each != 1]
    product = 1
    for each in factors:
        product *= each
    written = " x ".join(f"{each:,}" for each in factors)
    return f"{written} = {product:,}" if len(factors) > 1 else f"{product:,}"
