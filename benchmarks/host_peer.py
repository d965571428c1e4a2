"""One process of `benchmarks.host`: it makes transactions of one statement until it is told to end.

Run as `python -m benchmarks.host_peer WAY PARAMETERS`, both JSON. It prints a line when it is
ready, begins at a line on its standard input, and prints what it has done at the next.
"""

from __future__ import annotations

import json
import sys
import threading
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Any

import psycopg

from carpool import Options, Pool
from carpool.host.pool import HostPool
from carpool.postgresql.driver import PsycopgDriver

if TYPE_CHECKING:
    from collections.abc import Callable

STATEMENT = "SELECT name FROM thing WHERE id = %s"


def kept(params: dict[str, Any]) -> Callable[[int], None]:
    """Return a transaction on a connection that is kept: to the server, or to PgBouncer."""
    connection = psycopg.connect(**params, autocommit=True, prepare_threshold=None)

    def work(number: int) -> None:
        connection.execute(STATEMENT, [number]).fetchone()

    return work


def opened(params: dict[str, Any]) -> Callable[[int], None]:
    """Return a transaction on a connection that is opened for it."""

    def work(number: int) -> None:
        with psycopg.connect(**params, autocommit=True, prepare_threshold=None) as connection:
            connection.execute(STATEMENT, [number]).fetchone()

    return work


def pool_of(params: dict[str, Any], **options: Any) -> Any:
    """Return a pool, or this process' part in that of the host."""
    driver = PsycopgDriver(**params, autocommit=True, prepare_threshold=None)
    given = Options(**options)
    return HostPool(driver, given) if given.share == "host" else Pool(driver, given)


def pooled(params: dict[str, Any], **options: Any) -> Callable[[int], None]:
    """Return a transaction on a pool's connection, given back after it."""
    pool = pool_of(params, **options)

    def work(number: int) -> None:
        connection = pool.acquire()
        connection.execute(STATEMENT, [number]).fetchone()
        pool.release(connection)

    return work


WAYS = {"kept": kept, "opened": opened, "pooled": pooled}


def main() -> None:
    """Work between two lines."""
    name, options = json.loads(sys.argv[1])
    work = WAYS[name](json.loads(sys.argv[2]), **options)
    work(1)
    print("ready", flush=True)
    for _ in sys.stdin:
        over = threading.Event()
        threading.Thread(target=lambda over=over: (sys.stdin.readline(), over.set())).start()
        print(json.dumps(measure(work, over)), flush=True)


def measure(work: Callable[[int], None], over: threading.Event) -> dict[str, float]:
    """Work until it is over; return how often, the CPU seconds and the longest it took."""
    count, longest, cpu = 0, 0.0, process_time()
    last = perf_counter()
    while not over.is_set():
        work(count % 1000 + 1)
        count += 1
        now = perf_counter()
        longest, last = max(longest, now - last), now
    return {"count": count, "cpu": process_time() - cpu, "longest": longest}


if __name__ == "__main__":
    main()
