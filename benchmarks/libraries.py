"""The pools as libraries, without Django: on connections that cost nothing, and on real ones."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from operator import attrgetter, methodcaller
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg_pool import ConnectionPool
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.pool import QueuePool

from benchmarks import measure
from benchmarks.null import NullConnection, NullDriver, NullPsycopg
from carpool import Options, Pool
from carpool.postgresql.driver import PsycopgDriver

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from carpool.driver import Driver

CARPOOL = "carpool"
PSYCOPG_POOL = "psycopg_pool"
SQLALCHEMY = "SQLAlchemy QueuePool"


@dataclass(frozen=True)
class Library:
    """A pool in this process."""

    name: str
    cycle: measure.Cycle
    close: Callable[[], object]

    def measure(self, load: measure.Load) -> measure.Sample:
        """Return what a cycle costs under this load."""
        return measure.measure(self.cycle, load)

    def calls(self) -> tuple[float, float]:
        """Return the Python and the C calls of a cycle without a query."""
        return measure.calls(self.cycle)


def null_pools(size: int) -> Iterator[Library]:
    """Make the pools of connections that cost nothing."""
    yield carpool(NullDriver(), size)
    yield psycopg_pool(PSYCOPG_POOL, size, connection_class=NullPsycopg)
    yield sqlalchemy(SQLALCHEMY, size, NullConnection)


def real_pools(params: dict[str, Any], size: int, names: Collection[str] = ()) -> Iterator[Library]:
    """Make the pools of psycopg connections, all or those named."""
    params = params | {"autocommit": True}
    dialect = PGDialect_psycopg(dbapi=psycopg)
    native = functools.partial(psycopg_pool, size=size, kwargs=params)
    alchemy = functools.partial(
        sqlalchemy, size=size, connect=lambda: psycopg.connect(**params), dialect=dialect
    )
    makers: dict[str, Callable[[str], Library]] = {
        CARPOOL: lambda _name: carpool(PsycopgDriver(**params), size),
        PSYCOPG_POOL: native,
        f"{PSYCOPG_POOL}, check": functools.partial(native, check=ConnectionPool.check_connection),
        SQLALCHEMY: alchemy,
        f"{SQLALCHEMY}, pre_ping": functools.partial(alchemy, pre_ping=True),
    }
    return (make(name) for name, make in makers.items() if not names or name in names)


def carpool(driver: Driver[Any], size: int) -> Library:
    """Make carpool's own."""
    pool = Pool(driver, Options(min_size=size, max_size=size, timeout=30))
    pool.wait()
    return Library(CARPOOL, measure.Cycle(pool.acquire, select_1, pool.release), pool.close)


def psycopg_pool(name: str, size: int, **options: Any) -> Library:
    """Make one of psycopg_pool."""
    pool = ConnectionPool(min_size=size, max_size=size, open=True, **options)
    pool.wait()
    return Library(name, measure.Cycle(pool.getconn, select_1, pool.putconn), pool.close)


def sqlalchemy(name: str, size: int, connect: Callable[[], Any], **options: Any) -> Library:
    """Make one of SQLAlchemy."""
    pool = QueuePool(connect, pool_size=size, max_overflow=0, **options)
    inner = attrgetter("driver_connection")

    def use(connection: Any) -> None:
        select_1(inner(connection))

    for connection in [pool.connect() for _ in range(size)]:  # it opens them at need only
        connection.close()
    return Library(name, measure.Cycle(pool.connect, use, methodcaller("close")), pool.dispose)


def select_1(connection: Any) -> None:
    """Ask the server for the least."""
    connection.execute("SELECT 1").fetchone()
