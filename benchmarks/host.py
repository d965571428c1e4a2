"""`make bench-host`: transactions of one statement, by many processes on few server connections.

carpool with `share: host`, PgBouncer (transaction mode, Unix socket) with its clients' connections
kept and opened each time, and connections of one's own without any limit. The peers take turns in
every round, on a real PostgreSQL. Also: what acquire and release cost beside the pool within a
process, and how long a connection takes from one process' hands to another's. The figures of one
run compare with each other.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter, sleep
from typing import TYPE_CHECKING, Any, Self

import psutil

from benchmarks import machine
from benchmarks.pgbouncer import PgBouncer
from benchmarks.pool import usage
from benchmarks.report import table
from benchmarks.system_calls import of_a_query
from carpool import Options, Pool
from carpool.host.pool import HostPool
from carpool.postgresql.driver import PsycopgDriver
from support.progress import Progress
from support.servers import NotInstalled, PostgreSQL

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZE = 8  # server connections
PROCESSES = (1, 2, 4, 8, 16)
OWN, KEPT, OPENED, CARPOOL = (
    "a connection each, no limit",
    "PgBouncer, connections kept",
    "PgBouncer, opened each time",
    "carpool, share: host",
)
CYCLES = 2000
PACKAGES = ("psycopg", "psutil")


@dataclass(frozen=True)
class Sample:
    """What the processes of one peer did in one round."""

    rate: float  # transactions per second, of all together
    cpu: float  # microseconds of theirs for one
    fairness: float  # the least that one did, of the most
    longest: float  # milliseconds that one took


class Peer:
    """So many processes that work in one way."""

    def __init__(self, way: tuple[str, dict[str, Any]], params: dict[str, Any], count: int) -> None:
        command = [sys.executable, "-m", "benchmarks.host_peer", json.dumps(way)]
        self._processes = [
            subprocess.Popen(
                [*command, json.dumps(params)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(count)
        ]
        for each in self._processes:
            assert each.stdout
            if each.stdout.readline() != "ready\n":
                raise RuntimeError("a process of the benchmark has not begun")

    def measure(self, seconds: float) -> Sample:
        """Have them work for so long."""
        start = perf_counter()
        self._say("begin")
        sleep(seconds)
        self._say("end")
        told = [json.loads(each.stdout.readline()) for each in self._processes if each.stdout]
        wall = perf_counter() - start
        counts = [each["count"] for each in told]
        return Sample(
            sum(counts) / wall,
            1e6 * sum(each["cpu"] for each in told) / sum(counts),
            min(counts) / max(counts),
            1e3 * max(each["longest"] for each in told),
        )

    def _say(self, word: str) -> None:
        for each in self._processes:
            assert each.stdin
            each.stdin.write(f"{word}\n")
            each.stdin.flush()

    def close(self) -> None:
        """End them."""
        for each in self._processes:
            each.kill()
        for each in self._processes:
            each.communicate()


class Broker:
    """A directory for a broker of the benchmark's own, which is ended at the end."""

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="carpool-")
        os.environ["CARPOOL_DIR"] = self._folder.name
        return self

    def __exit__(self, *exc: object) -> None:
        for lock in Path(self._folder.name).glob("*/broker.lock"):
            broker = psutil.Process(int(lock.read_text()))
            broker.terminate()
            broker.wait(10)
        self._folder.cleanup()


Ways = dict[str, tuple[tuple[str, dict[str, Any]], dict[str, Any]]]


def main() -> None:
    """Measure, show, and leave nothing behind."""
    arguments = parse()
    progress = Progress(arguments.rounds * len(arguments.processes) + 3)
    with ExitStack() as stack:
        server = stack.enter_context(PostgreSQL.start(max_connections=100))
        server.query("CREATE TABLE thing (id integer PRIMARY KEY, name text NOT NULL)")
        server.query("INSERT INTO thing SELECT n, 'thing ' || n FROM generate_series(1, 1000) n")
        [[version]] = server.query("SHOW server_version")
        stack.enter_context(Broker())
        bouncer = stack.enter_context(PgBouncer(server, SIZE))
        progress.say(machine.description(version.partition(" ")[0], PACKAGES))
        ways: Ways = {
            OWN: (("kept", {}), server.params),
            KEPT: (("kept", {}), bouncer.params),
            OPENED: (("opened", {}), bouncer.params),
            CARPOOL: (("pooled", {"share": "host", "max_size": SIZE}), server.params),
        }
        others = machine.Others()
        progress.step("acquire and release")
        cycles = acquire_and_release(server, arguments.rounds)
        progress.step("from hand to hand")
        hands = from_hand_to_hand(server, arguments.rounds)
        progress.step("system calls")
        calls = {share: of_a_query(share, server.params) for share in ("process", "host")}
        samples = {count: run(ways, count, arguments, progress) for count in arguments.processes}
        cores = others.cores()
        progress.clear()
    show(samples, cycles, hands)
    show_calls(calls)
    print(f"\n{arguments.rounds} rounds of {arguments.seconds:g} s for each.", usage(cores))


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.host",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument(
        "--seconds", type=float, default=1.5, help="for a peer in a round; default: %(default)s"
    )
    parser.add_argument(
        "--processes",
        type=int,
        nargs="+",
        default=PROCESSES,
        metavar="N",
        help=f"how many at a time; default: {' '.join(map(str, PROCESSES))}",
    )
    arguments = parser.parse_args()
    if arguments.rounds < 1 or arguments.seconds <= 0 or min(arguments.processes) < 1:
        parser.error("--rounds and --processes have to be at least 1, --seconds above 0")
    return arguments


def run(
    ways: Ways, count: int, arguments: argparse.Namespace, progress: Progress
) -> dict[str, list[Sample]]:
    """Measure the peers in turn, so that whatever disturbs the machine disturbs all of them."""
    samples: dict[str, list[Sample]] = {name: [] for name in ways}
    names = list(ways)
    with ExitStack() as stack:
        peers = {
            name: stack.enter_context(closing(Peer(*way, count))) for name, way in ways.items()
        }
        for number in range(arguments.rounds):
            progress.step(f"{count} processes, round {number + 1} of {arguments.rounds}")
            first = number % len(names)
            for name in names[first:] + names[:first]:
                samples[name].append(peers[name].measure(arguments.seconds))
    return samples


def pools(server: PostgreSQL, size: int, count: int, name: str) -> list[HostPool[Any]]:
    """Return parts in one pool, as of so many processes."""
    driver = PsycopgDriver(
        **server.params, autocommit=True, prepare_threshold=None, application_name=name
    )
    return [HostPool(driver, Options(share="host", max_size=size)) for _ in range(count)]


def acquire_and_release(server: PostgreSQL, rounds: int) -> dict[str, list[float]]:
    """Return the microseconds that one acquire and release takes where nobody else wants one."""
    [shared] = pools(server, 1, 1, "alone")
    with closing(shared):
        driver = PsycopgDriver(**server.params, autocommit=True, prepare_threshold=None)
        with closing(Pool(driver, Options(max_size=1))) as own:
            peers: dict[str, Any] = {"share: process": own, "share: host": shared}
            taken: dict[str, list[float]] = {name: [] for name in peers}
            for _ in range(rounds):
                for name, pool in peers.items():
                    pool.release(pool.acquire())
                    start = perf_counter()
                    for _ in range(CYCLES):
                        pool.release(pool.acquire())
                    taken[name].append((perf_counter() - start) / CYCLES * 1e6)
            return taken


def from_hand_to_hand(server: PostgreSQL, rounds: int) -> list[float]:
    """Return the microseconds of acquires for which another has to give up its idle connection.

    Medians of the rounds. Twice as many parts as connections take turns, so that none ever has
    what it had last.
    """
    parts = pools(server, SIZE, 2 * SIZE, "hands")
    medians = []
    with ExitStack() as stack:
        for part in parts:
            stack.enter_context(closing(part))
        for _ in range(rounds):
            taken = []
            for number in range(CYCLES):
                part = parts[number % len(parts)]
                start = perf_counter()
                connection = part.acquire()
                taken.append(perf_counter() - start)
                part.release(connection)
            medians.append(median(taken[len(parts) :]) * 1e6)
    return medians


def show(
    samples: dict[int, dict[str, list[Sample]]], cycles: dict[str, list[float]], hands: list[float]
) -> None:
    """Print the tables and what is needed to judge them."""
    for count, of_count in samples.items():
        title = f"== {count} processes, {SIZE} server connections"
        print(f"\n{title}", "", *table(HEADS, list(rows(of_count))), sep="\n")
    print(f"\n{NOTES}")
    print("\n== Acquire and release, microseconds, nobody else wants one\n")
    for name, taken in cycles.items():
        print(f"{name:15} {spread(taken)}")
    more = [a - b for a, b in zip(cycles["share: host"], cycles["share: process"], strict=True)]
    print(f"{'more':15} {spread(more)}")
    print("\n== From hand to hand, microseconds until the other has it\n")
    print(f"{'share: host':15} {spread(hands, 0)}")


def show_calls(calls: dict[str, dict[str, float] | None]) -> None:
    """Print which system calls a query makes on a leased connection."""
    print("\n== System calls of a query on a leased connection\n")
    for share, counts in calls.items():
        told = "not counted: strace is not installed"
        if counts is not None:
            told = ", ".join(f"{name} {count:g}" for name, count in counts.items())
        print(f"{f'share: {share}':15} {told}")


def spread(values: list[float], digits: int = 2) -> str:
    """Return the median, and the lowest and highest."""
    low, high = min(values), max(values)
    return f"{median(values):.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


HEADS = [
    ("", ""),
    ("transactions", "per s"),
    ("lowest to", "highest"),
    ("/ kept", "PgBouncer"),
    ("CPU", "us"),
    ("least /", "most"),
    ("longest", "ms"),
]
NOTES = """\
Medians of the rounds; "/ kept PgBouncer" is the median of each round's ratio. CPU is that of the
processes that ask, for one transaction, without PgBouncer's, the broker's and the server's. "Least
/ most" compares what the processes got done; "longest" is the longest that one had to wait for."""


def rows(samples: dict[str, list[Sample]]) -> Iterator[list[str]]:
    """Return the figures of each peer."""
    for name, own in samples.items():
        rates = [each.rate for each in own]
        ratios = [a.rate / b.rate for a, b in zip(own, samples[KEPT], strict=True)]
        yield [
            name,
            f"{median(rates):,.0f}",
            f"{min(rates):,.0f} to {max(rates):,.0f}",
            f"{median(ratios):.2f}",
            f"{median(each.cpu for each in own):,.0f}",
            f"{median(each.fairness for each in own):.2f}",
            f"{median(each.longest for each in own):,.1f}",
        ]


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("interrupted")
    except NotInstalled as error:
        sys.exit(str(error))
