"""`make bench-streams`: open streams of server-sent events by the thousand, on ten connections.

uvicorn serves a Django site. Every stream sends the result of a fresh query each second, through
Django's async ORM. All streams are opened, then they are watched. In session mode each stream
keeps its connection for as long as it is open: as many are served as there are connections, the
others get an error. In transaction mode all are served.

The exit status is 1 if there was an error, or a session more than there are connections.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import sys
import time
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

from benchmarks import machine
from benchmarks.streams_client import Tally, follow
from benchmarks.streams_server import Uvicorn
from support.progress import Progress
from support.servers import PostgreSQL

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

NAME = "streams"  # by which the site's sessions are known on the server
SPARE = 100  # descriptors that a process needs for other things than streams
STEP = 1.0  # seconds between two looks at the server


@dataclass
class Watched:
    """What was seen from the outside, one sample each STEP; times in seconds, memory in bytes."""

    sessions: list[int] = field(default_factory=list)
    seconds: float = 0.0
    cpu: float = 0.0
    memory: int = 0
    cores: float = 0.0  # of others
    log: list[str] = field(default_factory=list)


def main() -> int:
    """Run it all; return the exit status."""
    arguments = parse()
    allow_files(arguments.streams + SPARE)
    pool = {
        "max_size": arguments.connections // arguments.workers,
        "mode": arguments.mode,
        "timeout": arguments.timeout,
    }
    print(
        f"{arguments.streams} streams on {arguments.connections} connections, "
        f"{arguments.mode} mode: uvicorn with {arguments.workers} workers, each with "
        f'"pool": {pool}'
    )
    with PostgreSQL.start(max_connections=arguments.connections + 20) as server:
        server.query("CREATE TABLE reading (id integer PRIMARY KEY)")
        server.query("INSERT INTO reading VALUES (1)")
        options = {"pool": pool, "application_name": NAME}
        database = server.django(ENGINE="carpool.postgresql", OPTIONS=options)
        with Uvicorn(database, arguments.workers) as site:
            tally, watched = asyncio.run(watch(server, site, arguments))
    print("", *report(tally, watched, arguments), sep="\n")
    return int(bool(tally.errors) or max(watched.sessions) > arguments.connections)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.streams",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--streams", type=int, default=1000, help="default: %(default)s")
    parser.add_argument(
        "--connections", type=int, default=10, help="of all workers together; default: %(default)s"
    )
    parser.add_argument("--workers", type=int, default=2, help="default: %(default)s")
    parser.add_argument(
        "--mode",
        choices=["session", "transaction", "statement"],
        default="transaction",
        help="default: %(default)s",
    )
    parser.add_argument(
        "--seconds", type=float, default=30, help="with all streams open; default: %(default)s"
    )
    parser.add_argument(
        "--opening",
        type=float,
        default=10,
        help="seconds over which the streams are opened; default: %(default)s",
    )
    parser.add_argument(
        "--timeout", type=float, default=10, help="of the pool; default: %(default)s"
    )
    arguments = parser.parse_args()
    if arguments.connections % arguments.workers:
        parser.error("--connections has to be a multiple of --workers: each has a pool of its own")
    if min(arguments.streams, arguments.connections, arguments.seconds) <= 0:
        parser.error("--streams, --connections and --seconds have to be above 0")
    return arguments


def allow_files(needed: int) -> None:
    """Have the system allow this process, and uvicorn's, that many descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise SystemExit(
            f"{needed} open files are needed and {hard} allowed: raise the limit (ulimit -Hn), "
            "or take fewer --streams"
        )
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


async def watch(
    server: PostgreSQL, site: Uvicorn, arguments: argparse.Namespace
) -> tuple[Tally, Watched]:
    """Open the streams, watch them for the time asked for, and close them."""
    tally, watched = Tally(arguments.streams), Watched()
    async with asyncio.TaskGroup() as group:
        streams = group.create_task(follow_all(site.port, tally, arguments))
        with server.admin() as admin:
            sampler = Sampler(admin, tally, watched)
            await sampler.until(tally.settled, arguments.opening + arguments.timeout)
            tally.late.clear()
            others, cpu, start = machine.Others(), site.cost()[0], time.monotonic()
            await sampler.during(arguments.seconds)
        watched.seconds, watched.cores = time.monotonic() - start, others.cores()
        total, watched.memory = site.cost()
        watched.cpu, watched.log = total - cpu, site.log()
        streams.cancel()
    return tally, watched


async def follow_all(port: int, tally: Tally, arguments: argparse.Namespace) -> None:
    """Open the streams one after the other; runs until it is cancelled, or all have failed."""
    async with asyncio.TaskGroup() as group:
        for _ in range(arguments.streams):
            group.create_task(follow(port, tally))
            await asyncio.sleep(arguments.opening / arguments.streams)


class Sampler:
    """Looks at the server every now and then, and tells how it goes."""

    def __init__(self, admin: Any, tally: Tally, watched: Watched) -> None:
        self._admin, self._tally, self._watched = admin, tally, watched

    async def until(self, event: asyncio.Event, at_most: float) -> None:
        """Do so until something has happened, which may take `at_most` seconds."""
        progress = Progress(round(at_most / STEP) + 1)
        happened = asyncio.ensure_future(event.wait())
        while not event.is_set():
            await self._sample("opening", progress)
            await asyncio.wait([happened], timeout=STEP)
        progress.clear()

    async def during(self, seconds: float) -> None:
        """Do so for a time, or until no stream is open."""
        progress = Progress(round(seconds / STEP) + 1)
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and self._tally.open:
            await self._sample("watching", progress)
            await asyncio.sleep(min(STEP, left))
        await self._sample("watched", progress)
        progress.clear()

    async def _sample(self, doing: str, progress: Progress) -> None:
        counted = await asyncio.to_thread(self._admin.execute, SESSIONS, [NAME])
        [sessions] = counted.fetchone()
        self._watched.sessions.append(sessions)
        tally = self._tally
        progress.step(
            f"{doing}: {tally.open} streams open, {len(tally.late):,} events, "
            f"{tally.errors.total()} errors, {sessions} sessions"
        )


SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"


def report(tally: Tally, watched: Watched, arguments: argparse.Namespace) -> Iterator[str]:
    """Say what came of it."""
    due = round(arguments.streams * watched.seconds)
    yield f"events    {len(tally.late):,} in {watched.seconds:.1f} s; due {due:,}"
    if late := sorted(tally.late):
        behind = sum(each > 1 for each in late)
        yield (
            f"late      median {1000 * median(late):.0f} ms, "
            f"99 % {1000 * late[len(late) * 99 // 100]:.0f} ms, "
            f"latest {1000 * late[-1]:.0f} ms; {behind:,} events by more than a second"
        )
        yield f"CPU       {1000 * watched.cpu / len(late):.2f} ms of uvicorn for each event"
    yield f"memory    {watched.memory / 2**20:.0f} MiB in uvicorn's workers"
    yield (
        f"sessions  at most {max(watched.sessions)} on the server, "
        f"median {median(watched.sessions):.0f}, of {arguments.connections} allowed"
    )
    if max(watched.sessions) > arguments.connections:
        yield "          that is more than allowed: an error"
    yield f"errors    {tally.errors.total()} of {arguments.streams} streams"
    for kind, count in tally.errors.most_common():
        yield f"          {count} x {kind}, the first: {tally.examples[kind]}"
    if watched.log:
        yield from ("uvicorn's log ends:", *watched.log)
    yield f"Other processes kept {watched.cores:.2f} cores busy meanwhile."


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted")
