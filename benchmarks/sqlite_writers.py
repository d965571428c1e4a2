"""`make bench-sqlite-writers`: processes and threads that write one SQLite file through Django.

Each transaction reads a row, changes it, and adds another. What is compared: transactions per
second, how many were refused with "database is locked", how long they took. The peers take turns
in every round, each on a file of its own.
"""

from __future__ import annotations

import argparse
import os
import platform
import sqlite3
import sys
import tempfile
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from itertools import product
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks import machine
from benchmarks.report import table, verdict
from benchmarks.sqlite_writer import Writer
from support.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

STOCK, PERSISTENT, CARPOOL = "stock Django", "CONN_MAX_AGE=600", "carpool"
JOURNALS = ("DELETE", "WAL")
MODES = ("DEFERRED", "IMMEDIATE")
TABLES = 150  # of the schema, as a site may have

NOTES = """\
Medians of the rounds. Ratios to stock Django are medians of each round's ratio, with the lowest
and the highest in parentheses. "locked" counts refused transactions in a thousand: a DEFERRED one
that has read cannot go on to write once another has written, and is refused at once; any is when
it has waited for longer than the timeout. Times are of the transactions that succeeded, from the
first cursor to the end of the request. Threads pause between requests, refused or not: without
that, who is served faster tries more often, and is refused more often."""


@dataclass(frozen=True)
class Sample:
    """What all processes of a peer did in one round; times in milliseconds."""

    writes: float  # per second
    locked: float  # in a thousand
    p50: float
    p99: float


def main() -> None:
    """Measure, show, and leave nothing behind."""
    arguments = parse()
    cases = list(product(JOURNALS, MODES))
    progress = Progress(len(cases) * arguments.rounds)
    progress.say(description())
    others = machine.Others()
    measured = {}
    with tempfile.TemporaryDirectory(prefix="carpool-writers-", dir=arguments.folder) as folder:
        for journal, mode in cases:
            title = f"journal {journal}, BEGIN {mode}"
            step = partial(announce, progress, title, arguments.rounds)
            measured[title] = case(Path(folder), journal, mode, arguments, step)
    cores = others.cores()
    progress.clear()
    show(measured, arguments, cores)


def announce(progress: Progress, title: str, rounds: int, turn: int) -> None:
    """Say what is being measured."""
    progress.step(f"{title}, round {turn + 1} of {rounds}")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.sqlite_writers", description=__doc__
    )
    parser.add_argument("--rounds", type=int, default=7, help="default: %(default)s")
    parser.add_argument(
        "--seconds", type=float, default=2.0, help="for a peer in a round; default: %(default)s"
    )
    parser.add_argument("--processes", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=4, help="of each; default: %(default)s")
    parser.add_argument(
        "--pause",
        type=float,
        default=0.05,
        help="seconds of a thread between two requests, on average; default: %(default)s",
    )
    parser.add_argument(
        "--timeout", type=float, default=5.0, help="Django's OPTIONS; default: %(default)s"
    )
    parser.add_argument("--folder", type=Path, help="where the files go; default: a temporary one")
    arguments = parser.parse_args()
    if min(arguments.rounds, arguments.seconds, arguments.processes, arguments.threads) <= 0:
        parser.error("rounds, seconds, processes and threads have to be above 0")
    return arguments


def description() -> str:
    """Name the machine and the versions in one line."""
    return (
        f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}, "
        f"SQLite {sqlite3.sqlite_version}, Django {version('Django')}"
    )


def ways(path: Path, mode: str, timeout: float) -> dict[str, dict[str, Any]]:
    """Return the entries of DATABASES to compare, by name."""
    options = {"transaction_mode": mode, "timeout": timeout}
    stock = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(path), "OPTIONS": options}
    return {
        STOCK: stock,
        PERSISTENT: stock | {"CONN_MAX_AGE": 600},
        CARPOOL: stock | {"ENGINE": "carpool.sqlite3"},
    }


def case(
    folder: Path,
    journal: str,
    mode: str,
    arguments: argparse.Namespace,
    step: Callable[[int], None],
) -> dict[str, list[Sample]]:
    """Measure the peers in turn, each with its processes and its file."""
    with ExitStack() as stack:
        peers: dict[str, list[Writer]] = {}
        for number, name in enumerate(ways(folder, mode, arguments.timeout)):
            path = folder / f"{journal}-{mode}-{number}.db"
            make(path, journal)
            settings = ways(path, mode, arguments.timeout)[name]
            peers[name] = [
                stack.enter_context(closing(Writer(name, settings)))
                for _ in range(arguments.processes)
            ]
        samples: dict[str, list[Sample]] = {name: [] for name in peers}
        names = list(peers)
        for turn in range(arguments.rounds):
            step(turn)
            first = turn % len(names)
            for name in names[first:] + names[:first]:
                samples[name].append(together(peers[name], arguments))
    return samples


def make(path: Path, journal: str) -> None:
    """Make the file, with the schema of a site."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA journal_mode = {journal}")
        connection.execute("BEGIN")
        for number in range(TABLES):
            columns = ", ".join(f"column{each} varchar(100)" for each in range(10))
            connection.execute(f"CREATE TABLE table{number} (id integer PRIMARY KEY, {columns})")
            connection.execute(f"CREATE INDEX index{number} ON table{number} (column1, column2)")
        connection.execute("CREATE TABLE counter (id integer PRIMARY KEY, value integer)")
        connection.execute("INSERT INTO counter VALUES (1, 0)")
        connection.execute("CREATE TABLE log (id integer PRIMARY KEY, value integer)")
        connection.execute("COMMIT")


def together(writers: list[Writer], arguments: argparse.Namespace) -> Sample:
    """Have all processes of a peer write at once."""
    for writer in writers:
        writer.begin(arguments.threads, arguments.seconds, arguments.pause)
    answers = [writer.result() for writer in writers]
    times = sorted(each for answer in answers for each in answer["times"])
    locked = sum(answer["locked"] for answer in answers)
    seconds = max(answer["seconds"] for answer in answers)
    if not times:
        raise SystemExit(f"{writers[0].name}: not one write in {seconds:.1f} s; try more --seconds")
    return Sample(
        len(times) / seconds,
        1000 * locked / (locked + len(times)),
        1000 * times[len(times) // 2],
        1000 * times[len(times) * 99 // 100],
    )


def show(
    measured: dict[str, dict[str, list[Sample]]], arguments: argparse.Namespace, cores: float
) -> None:
    """Print the tables and what is needed to judge them."""
    for title, samples in measured.items():
        print(f"\n== {title}\n")
        print(*table(heads(), rows(samples)), sep="\n")
    print("\n== Goals", *goals(measured), sep="\n")
    print(f"\n{NOTES}")
    print(
        f"\n{arguments.rounds} rounds of {arguments.seconds:g} s for each peer: "
        f"{arguments.processes} processes of {arguments.threads} threads, "
        f"{arguments.pause:g} s between two requests of each, "
        f"timeout {arguments.timeout:g} s. "
        f"Other processes kept {cores:.2f} cores busy meanwhile."
    )


def heads() -> list[tuple[str, str]]:
    """Return the two lines of each column's head."""
    return [
        ("", ""),
        ("writes", "per s"),
        ("/ stock", "(lowest, highest)"),
        ("locked", "of 1000"),
        ("p50", "ms"),
        ("/ stock", "(lowest, highest)"),
        ("p99", "ms"),
        ("/ stock", "(lowest, highest)"),
    ]


def rows(samples: dict[str, list[Sample]]) -> Iterator[list[str]]:
    """Return the figures of each peer."""
    for name, own in samples.items():
        yield [
            name,
            f"{median(each.writes for each in own):,.0f}",
            spread(ratios(samples, name, "writes")),
            f"{median(each.locked for each in own):.1f}",
            f"{median(each.p50 for each in own):.2f}",
            spread(ratios(samples, name, "p50")),
            f"{median(each.p99 for each in own):.1f}",
            spread(ratios(samples, name, "p99")),
        ]


def ratios(samples: dict[str, list[Sample]], name: str, of: str) -> list[float]:
    """Return each round's ratio to stock Django."""
    pairs = zip(samples[name], samples[STOCK], strict=True)
    return [getattr(mine, of) / getattr(stock, of) for mine, stock in pairs]


def spread(values: list[float]) -> str:
    """Return the median with the lowest and the highest."""
    return f"{median(values):.2f} ({min(values):.2f}, {max(values):.2f})"


def goals(measured: dict[str, dict[str, list[Sample]]]) -> Iterator[str]:
    """Say of each case whether carpool is no worse than stock Django."""
    for title, samples in measured.items():
        mine, stock = (median(s.locked for s in samples[name]) for name in (CARPOOL, STOCK))
        what = f"locked of 1000, with stock {stock:.1f}"
        yield f"{verdict(mine <= stock)}  {mine:.1f}  {title}: {what}"
        writes = median(ratios(samples, CARPOOL, "writes"))
        yield f"{verdict(writes >= 1)}  {writes:.2f}  {title}: writes / stock, at least 1"


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("interrupted")
