"""`make bench-async`: what a query costs in an async view, by threads and by native connections.

Requests go through Django's handlers to a view that makes some queries one after the other.
Django's async ORM makes each in the thread of the request (sync_to_async); django-async-backend
and psycopg's AsyncConnection make them in the event loop. The peers take turns in every round, each
in a process of its own, on a real PostgreSQL. The figures of one run compare with each other.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack, closing
from dataclasses import dataclass
from importlib.util import find_spec
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks import machine
from benchmarks.async_peer import Load, Peer
from benchmarks.pool import usage
from benchmarks.report import table
from support.progress import Progress
from support.servers import PostgreSQL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg import Connection

SIZE = 10  # connections of each pool
NATIVE = "django_async_backend"
CARPOOL, STOCK, BACKEND = (
    "carpool.postgresql",
    "django.db.backends.postgresql",
    f"{NATIVE}.db.backends.postgresql",
)
PACKAGES = ("Django", "asgiref", "psycopg", "psycopg_pool")


@dataclass(frozen=True)
class Way:
    """One way to query: a view of `async_views` on an engine with a pool in some mode."""

    view: str
    engine: str
    mode: str = ""

    @property
    def name(self) -> str:
        """By which its sessions are known on the server."""
        return f"{self.view} {self.mode}"

    def database(self, server: PostgreSQL) -> dict[str, Any]:
        """Return its entry of DATABASES."""
        pool = {"min_size": 0, "max_size": SIZE} | ({"mode": self.mode} if self.mode else {})
        return server.django(
            ENGINE=self.engine, OPTIONS={"pool": pool, "application_name": self.name}
        )


# By what is queried: the first of each is what the others are compared with.
GROUPS = {
    "Model.objects.get / aget": {
        "sync view": Way("orm", CARPOOL, "session"),
        "async view, session mode": Way("async_orm", CARPOOL, "session"),
        "async view, transaction mode": Way("async_orm", CARPOOL, "transaction"),
        "... in one sync_to_async": Way("async_orm_at_once", CARPOOL, "transaction"),
        "async view, django-async-backend": Way("native_orm", BACKEND),
    },
    "SQL by hand": {
        "sync view": Way("sql", CARPOOL, "session"),
        "async view, session mode": Way("async_sql", CARPOOL, "session"),
        "async view, transaction mode": Way("async_sql", CARPOOL, "transaction"),
        "async view, django-async-backend": Way("native_sql", BACKEND),
        "async view, AsyncConnectionPool": Way("psycopg_sql", STOCK),
    },
}
LOADS = {
    "1 request at a time, of 1 query": (1, 1),
    "1 request at a time, of 20 queries": (1, 20),
    "50 requests at a time, of 1 query": (50, 1),
    "50 requests at a time, of 20 queries": (50, 20),
}
NOTES = f"""\
Queries per second and microseconds of CPU (of the process that asks, not of the server) for one
query, the request's own share included: medians of the rounds. "/ sync view" is the median of each
round's ratio of queries per second. Each pool may have {SIZE} connections; sessions are those on
the server at the end of a round, at most. The sync view runs in as many threads as there are
requests at a time."""


@dataclass(frozen=True)
class Sample:
    """What one peer did in one round."""

    rate: float  # queries per second
    cpu: float  # microseconds for a query
    sessions: int


Samples = dict[str, dict[Way, list[Sample]]]  # by load


def main() -> None:
    """Measure, show, and leave nothing behind."""
    arguments = parse()
    progress = Progress(len(LOADS) * arguments.rounds)
    with PostgreSQL.start(max_connections=200) as server:
        server.query("CREATE TABLE thing (id integer PRIMARY KEY, name text NOT NULL)")
        server.query("INSERT INTO thing SELECT n, 'thing ' || n FROM generate_series(1, 1000) n")
        [[version]] = server.query("SHOW server_version")
        ways, packages = present()
        progress.say(machine.description(version.partition(" ")[0], packages))
        others = machine.Others()
        measured = run(server, ways, arguments, progress)
        cores = others.cores()
        progress.clear()
    show(measured, arguments, cores)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.async_queries",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument(
        "--seconds", type=float, default=1.0, help="for a peer in a round; default: %(default)s"
    )
    arguments = parser.parse_args()
    if arguments.rounds < 1 or arguments.seconds <= 0:
        parser.error("--rounds has to be at least 1, --seconds above 0")
    return arguments


def present() -> tuple[list[Way], tuple[str, ...]]:
    """Return the ways that can be taken here, and the packages that matter."""
    ways = [way for group in GROUPS.values() for way in group.values()]
    if find_spec(NATIVE):
        return ways, (*PACKAGES, NATIVE)
    print("django-async-backend is left out: it needs Python 3.12 and Django 6.1")
    return [way for way in ways if way.engine != BACKEND], PACKAGES


def run(
    server: PostgreSQL, ways: list[Way], arguments: argparse.Namespace, progress: Progress
) -> Samples:
    """Measure the peers in turn, so that whatever disturbs the machine disturbs all of them."""
    measured: Samples = {label: {way: [] for way in ways} for label in LOADS}
    with ExitStack() as stack:
        admin = stack.enter_context(server.admin())
        peers = {
            way: stack.enter_context(closing(Peer(way.database(server), way.view))) for way in ways
        }
        for label, (requests, queries) in LOADS.items():
            load = Load(requests, queries, arguments.seconds)
            for number in range(arguments.rounds):
                progress.step(f"{label}, round {number + 1} of {arguments.rounds}")
                first = number % len(ways)
                for way in ways[first:] + ways[:first]:
                    measured[label][way].append(measure(peers[way], load, admin, way.name))
    return measured


def measure(peer: Peer, load: Load, admin: Connection[Any], name: str) -> Sample:
    """Have one peer make its queries."""
    answer = peer.measure(load)
    found = admin.execute(SESSIONS, [name]).fetchone()
    assert found
    queries = answer["queries"]
    return Sample(queries / answer["wall"], 1e6 * answer["cpu"] / queries, found[0])


SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"


def show(measured: Samples, arguments: argparse.Namespace, cores: float) -> None:
    """Print the tables and what is needed to judge them."""
    for title, group in GROUPS.items():
        for label, samples in measured.items():
            lines = rows({name: samples[way] for name, way in group.items() if way in samples})
            print(f"\n== {title}: {label}", "", *table(HEADS, lines), sep="\n")
    print(f"\n{NOTES}")
    print(f"\n{arguments.rounds} rounds of {arguments.seconds:g} s for each.", usage(cores))


HEADS = [
    ("", ""),
    ("queries", "per s"),
    ("lowest to", "highest"),
    ("/ sync", "view"),
    ("CPU", "us"),
    ("sessions", ""),
]


def rows(samples: dict[str, list[Sample]]) -> Iterator[list[str]]:
    """Return the figures of each way."""
    base = next(iter(samples.values()))
    for name, own in samples.items():
        rates = [each.rate for each in own]
        yield [
            name,
            f"{median(rates):,.0f}",
            f"{min(rates):,.0f} to {max(rates):,.0f}",
            f"{median(a.rate / b.rate for a, b in zip(own, base, strict=True)):.2f}",
            f"{median(each.cpu for each in own):,.0f}",
            f"{max(each.sessions for each in own)}",
        ]


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("interrupted")
