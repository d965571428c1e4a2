"""What is measured: eight sections, each with its peers, its loads and what it compares with."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from benchmarks import django_peer, libraries, telemetry_peer
from benchmarks.django_peer import PERSISTENT, SELECT_1, modes, plain_ways, ways
from benchmarks.libraries import CARPOOL, PSYCOPG_POOL, SQLALCHEMY
from benchmarks.measure import BATCH, Load, Sample
from benchmarks.places import FIRST_TABLE
from benchmarks.telemetry_peer import OFF

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from benchmarks.places import Places

SIZE, SCARCE = 4, 2  # connections of a pool
STATEMENTS = 20  # of a request, to compare modes
THREADS = 8
A_SECOND = 10.0  # times the usual 0.1 s: what is done once a second has its share in each sample


class Peer(Protocol):
    """One of those that are compared."""

    name: str

    def measure(self, load: Load) -> Sample:
        """Return what a cycle costs under this load."""

    def calls(self) -> tuple[float, float]:
        """Return the Python and the C calls of a cycle without a query."""

    def close(self) -> object:
        """Let go of the connections."""


@dataclass(frozen=True)
class Section:
    """`references` are the peers that all are compared with; seconds are times `patience`."""

    title: str
    peers: Callable[[Places], Iterable[Peer]]
    loads: dict[str, tuple[int, bool]]  # threads, with a query
    references: tuple[str, ...]
    batch: int = 1
    patience: float = 1.0
    shares: bool = False  # whether to show how evenly the threads were served

    def load(self, label: str, seconds: float) -> Load:
        """Return one of the loads, for a cell of so many seconds."""
        threads, query = self.loads[label]
        return Load(threads, query, seconds * self.patience, 1 if query else self.batch)


@dataclass
class Results:
    """The samples of a section by load and peer, in the order of the rounds; and the calls."""

    samples: dict[str, dict[str, list[Sample]]]
    calls: dict[str, tuple[float, float]] = field(default_factory=dict)


def run(
    section: Section,
    places: Places,
    rounds: int,
    seconds: float,
    step: Callable[[str], None],
) -> Results:
    """Measure the peers in turn, so that whatever disturbs the machine disturbs all of them."""
    with _opened(section.peers(places)) as peers:
        names = [peer.name for peer in peers]
        results = Results({label: {name: [] for name in names} for label in section.loads})
        results.calls = {peer.name: peer.calls() for peer in peers}
        for number in range(rounds):
            first = number % len(peers)
            for label in section.loads:
                step(f"{section.title}: {label}, round {number + 1} of {rounds}")
                for peer in peers[first:] + peers[:first]:
                    sample = peer.measure(section.load(label, seconds))
                    results.samples[label][peer.name].append(sample)
    return results


@contextmanager
def _opened(peers: Iterable[Peer]) -> Iterator[list[Peer]]:
    with ExitStack() as stack:
        opened = []
        for peer in peers:
            stack.callback(peer.close)
            opened.append(peer)
        yield opened


def _alone(_places: Places) -> Iterable[Peer]:
    return libraries.null_pools(SIZE)


def _real(places: Places) -> Iterable[Peer]:
    return libraries.real_pools(places.postgresql.params, SIZE)


def _django(places: Places) -> Iterable[Peer]:
    entries = ways(places.postgresql.django(), SIZE)
    return (django_peer.process(name, way) for name, way in entries.items())


def _databases(places: Places) -> Iterable[Peer]:
    for database, (backend, query) in DATABASES.items():
        entry = places.django(backend)
        for name, way in plain_ways(backend, entry, SIZE).items():
            yield django_peer.process(f"{database}: {name}", way, query)


def _modes(places: Places) -> Iterable[Peer]:
    for database, (backend, query) in DATABASES.items():
        for mode, entry in modes(backend, places.django(backend), SIZE).items():
            yield django_peer.process(f"{database}: {mode}", entry, query, STATEMENTS)


def _scarce(places: Places) -> Iterable[Peer]:
    plain = (CARPOOL, PSYCOPG_POOL, SQLALCHEMY)
    return libraries.real_pools(places.postgresql.params, SCARCE, plain)


def _watched(_places: Places) -> Iterable[Peer]:
    return telemetry_peer.on_null(SIZE)


def _watched_really(places: Places) -> Iterable[Peer]:
    return telemetry_peer.on_postgresql(places.postgresql.params, SIZE)


ONE, CONTENDED = "1 thread", f"{THREADS} threads on {SIZE} connections"
ONE_QUERY, CONTENDED_QUERY = f"{ONE}, SELECT 1", f"{CONTENDED}, SELECT 1"
SATURATED = f"{THREADS} threads on {SCARCE} connections, SELECT 1"
WITHOUT = {ONE: (1, False), CONTENDED: (THREADS, False)}
WITH = {ONE_QUERY: (1, True), CONTENDED_QUERY: (THREADS, True)}

# Django's name of the backend, and a query that needs next to nothing but a connection.
DATABASES = {
    "PostgreSQL": ("postgresql", SELECT_1),
    "MariaDB": ("mysql", SELECT_1),
    "SQLite": ("sqlite3", FIRST_TABLE),
}

SECTIONS = {
    "alone": Section(
        "The pool alone, on connections that cost nothing",
        _alone,
        WITHOUT,
        (PSYCOPG_POOL, SQLALCHEMY),
        batch=BATCH,
    ),
    "real": Section(
        "On real PostgreSQL connections",
        _real,
        WITHOUT | WITH,
        (PSYCOPG_POOL, SQLALCHEMY),
        batch=BATCH,
    ),
    "django": Section("Through Django", _django, WITHOUT | WITH, (PERSISTENT,)),
    "databases": Section(
        "What a request with one query pays, by database", _databases, {ONE_QUERY: (1, True)}, ()
    ),
    "modes": Section(
        f"What a statement pays by mode, as one of {STATEMENTS} of a request outside transactions",
        _modes,
        {f"{STATEMENTS} statements": (1, True)},
        (),
    ),
    "fairness": Section(
        "Fairness under saturation",
        _scarce,
        {SATURATED: (THREADS, True)},
        (PSYCOPG_POOL, SQLALCHEMY),
        patience=10,
        shares=True,
    ),
    "telemetry": Section(
        "What it costs that others see what the pool does, on connections that cost nothing",
        _watched,
        {ONE: WITHOUT[ONE]},
        (OFF,),
        batch=BATCH,
        patience=A_SECOND,
    ),
    "telemetry-real": Section(
        "The same on real PostgreSQL connections",
        _watched_really,
        WITHOUT | WITH,
        (OFF,),
        batch=BATCH,
        patience=A_SECOND,
    ),
}
