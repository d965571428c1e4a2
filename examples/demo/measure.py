"""Rounds of load on each contender in turn, and what the server counted meanwhile."""

import json
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from random import Random
from statistics import median, quantiles

from examples.demo import signals
from examples.demo.contenders import CONTENDERS, Contender
from examples.demo.site import THREADS, WORKERS, Site, listen, output_of
from examples.demo.workloads import WORKLOADS

CLIENTS = WORKERS * THREADS
WARM_UP = 0.5  # seconds
LATE = 0.8  # of a round has passed when the site's pools are looked at
# What PostgreSQL asks itself at COMMIT, for each deferred foreign key: no client sent that.
FOREIGN_KEY = "SELECT % FROM ONLY % FOR KEY SHARE OF x"


@dataclass(frozen=True)
class Round:
    rate: float  # requests per second
    median: float  # ms
    slow: float  # the 99th percentile, ms
    cpu: float  # of the workers, ms per request


@dataclass
class Result:
    contender: Contender
    log: str = ""  # the end of gunicorn's
    status: list[str] = field(default_factory=list)  # the lines of `carpool status` under load
    rounds: list[Round] = field(default_factory=list)
    # Of the whole life of the site, warming up included:
    statuses: Counter = field(default_factory=Counter)
    connections: int = 0
    statements: int = 0

    @property
    def requests(self):
        return self.statuses.total()

    @property
    def failures(self):
        return {status: n for status, n in self.statuses.items() if not status.startswith("2")}

    def all(self, figure):
        return [getattr(each, figure) for each in self.rounds]

    def middle(self, figure):
        return median(self.all(figure))


def steps(rounds):
    """Return how many steps `compare` announces."""
    return (1 + rounds) * len(CONTENDERS)


def compare(server, name, rounds, seconds, progress):
    """Measure one workload; return a Result for each contender."""
    results = [Result(contender) for contender in CONTENDERS]
    with ExitStack() as stack:
        sites = {}
        for result in results:
            progress.step(f"{name}: {result.contender.title} starts and warms up")
            site = sites[result.contender] = open_site(server, name, result, stack)
            run_round(site, name, min(WARM_UP, seconds), result)
        for number in range(rounds):
            for result in rotated(results, number):
                title = result.contender.title
                progress.step(f"{name}: {title}, round {number + 1} of {rounds}")
                figures = run_round(sites[result.contender], name, seconds, result)
                result.rounds.append(figures)
        for result in results:
            result.log = sites[result.contender].tail()
    for result in results:
        count(server, name, result)
    return results


def database(name, contender):
    """Name a database of its own, so that the server counts for each site separately."""
    return f"shop_{name}_{contender.title.split()[0].lower()}"


def open_site(server, name, result, stack):
    copy = database(name, result.contender)
    server.query(f"CREATE DATABASE {copy} TEMPLATE shop")
    environment = result.contender.environment(server.django(NAME=copy))
    site = stack.enter_context(signals.whole(lambda: Site(environment, listen())))
    result.statuses[site.wait_until_ready(WORKLOADS[name].request(Random(0)))] += 1
    return site


def rotated(results, number):
    """Let each contender be first in its turn."""
    first = number % len(results)
    return results[first:] + results[:first]


def run_round(site, name, seconds, result):
    """Drive one site for a while; add what was answered to the result, return the figures."""
    before = site.cpu()
    command = ("examples.demo.load", str(site.port), name, str(seconds), str(CLIENTS))
    # A look takes some milliseconds; no contender may have less of the processors than another.
    load = json.loads(output_of(*command, after=LATE * seconds, look=lambda: see(site, result)))
    used = site.cpu() - before
    result.statuses.update(load["statuses"])
    requests = len(load["latencies"])
    return Round(
        rate=requests / load["elapsed"],
        median=1000 * median(load["latencies"]),
        slow=1000 * quantiles(load["latencies"], n=100)[98],
        cpu=1000 * used / requests,
    )


def see(site, result):
    """Keep what is told of the pools of a site that is under load."""
    result.status = site.status()


def count(server, name, result):
    """Ask the server what it saw; its counts are complete when the last session has ended."""
    where = database(name, result.contender)
    server.wait_for_sessions(0, dbname=where)
    [[result.connections]] = server.query(
        "SELECT sessions FROM pg_stat_database WHERE datname = %s", [where]
    )
    [[result.statements]] = server.query(
        "SELECT coalesce(sum(calls), 0)::int FROM pg_stat_statements"
        " JOIN pg_database ON pg_database.oid = dbid"
        " WHERE datname = %s AND query NOT LIKE %s",
        [where, FOREIGN_KEY],
    )
