"""Page, status, metrics and server tell the same of four processes, under load and after it.

A process tells the others of itself once a second: nothing here goes by how long that takes, but
by when it has told.
"""

import http.client
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import pytest

from tests.probing import ROOT, STUCK
from tests.serving import test_gunicorn, told
from tests.serving.promises import token, tokens
from tests.serving.server import Site, running

SIZE, PROCESSES, THREADS = 2, 4, 6
SETTINGS = ("DJANGO_SETTINGS_MODULE", "tests.serving.telling_settings")
KIND = replace(
    test_gunicorn.kind(
        *(f"--workers={PROCESSES}", "--worker-class=gthread", f"--threads={THREADS}"),
        f"--worker-connections={THREADS}",
        at_once=THREADS,
        max_size=SIZE,
        processes=PROCESSES,
    ),
    environment=(SETTINGS,),
    spare=PROCESSES,  # `status` asks the server, and one may be there whose process was killed
)
LOAD = 200  # acquires at least
# So many that each of the processes gets more than it has connections, whoever answers which.
HELD = (PROCESSES - 1) * THREADS + SIZE
ACQUIRES = {"session": 1, "transaction": 2}  # of the page "write"
SITES = {
    "PostgreSQL": ("session", KIND),
    "MariaDB": ("transaction", replace(KIND, server="mariadb")),
    "PostgreSQL, shared": ("transaction", replace(KIND, share="host", max_size=SIZE * PROCESSES)),
}


class TellingSite(Site):
    """A site whose pool is looked at in every way."""

    def settled(self, leased=0, waiting=0):
        """Return what the board tells of this state when all processes have told of it.

        A broker tells of it sooner than they do.
        """
        quiet = {"leased": leased, "waiting": waiting, "opening": 0, "closing": 0}

        def reached(since=0.0):
            pool = told.by_board(self)
            late = any(each["at"] <= since for each in pool["parts"])
            return None if late or not quiet.items() <= pool.items() else pool

        self.wait_until(reached, f"come to {quiet}")
        now = time.time()
        return self.wait_until(lambda: reached(now), f"tell of {quiet}")

    def logins(self, since):
        return self.shown.database.connections(since, user=self.shown.user)


@pytest.fixture(scope="module", params=SITES.values(), ids=SITES)
def site(request):
    mode, kind = request.param
    with running(TellingSite, kind, mode, request.getfixturevalue(kind.server)) as site:
        site.acquires = ACQUIRES[mode]
        use_all(site)
        yield site


def use_all(site):
    """Have every process use its pool, so that it tells of it."""
    with load(site) as (answers, _):
        site.wait_until(lambda: len({*answers}) == PROCESSES, "answer in every process")


def by_process(pool, name):
    return Counter({each["pid"]: each["figures"][name] for each in pool["parts"]})


def assert_all_tell_the_same(site):
    """Check the present figures, which must not be changing, in every way; return them."""
    pool = told.by_board(site)
    figures, ports = told.of_report(pool), site.shown.ports()
    page, opens = told.by_page(site)
    status, sessions = told.by_status(site)
    assert (page, told.by_metrics(site), told.of_report(status)) == (figures,) * 3
    assert figures.open == sessions == len(ports)
    if site.kind.share == "process":
        assert opens == +by_process(status, "open") == site.check_sessions()
    return figures


def test_while_every_connection_is_in_use(site):
    before, in_use = site.settled(), SIZE * PROCESSES
    wanted = tokens(HELD)
    with ThreadPoolExecutor(HELD) as clients:
        with site.shown.closed_gate():
            asked = [clients.submit(site.answer, "write-at-gate", token=each) for each in wanted]
            site.shown.wait_at_gate(in_use)
            site.settled(in_use, HELD - in_use)
            figures = assert_all_tell_the_same(site)
        for each in asked:
            each.result()
    assert figures.processes == PROCESSES
    assert figures.open == figures.leased == figures.capacity == in_use
    assert (figures.idle, figures.waiting) == (0, HELD - in_use)
    assert site.settled()["waits"] - before["waits"] >= figures.waiting
    assert (figures.timeouts, figures.refusals, figures.open_errors) == (0, 0, 0)


def looks(site):
    """Look in each way in turn, for ever; no look may find less than the one before."""
    before = Counter()
    while True:
        for look in (
            lambda: told.of_report(told.by_board(site)),
            lambda: told.by_page(site)[0],
            lambda: told.by_metrics(site),
        ):
            now = look().counts()
            assert now >= before, f"{before - now} is missing"
            before = now
            yield now


@contextmanager
def load(site, clients=PROCESSES + 2):
    """Ask for pages in this block; yield who answers, and the failures, as lists that grow."""
    over, answers, failures = threading.Event(), [], []

    def client():
        while not over.is_set():
            try:
                answers.append(site.answer("write", token=token())["process"])
            except (OSError, http.client.HTTPException) as error:
                failures.append(error)

    with ThreadPoolExecutor(clients) as threads:
        running = [threads.submit(client) for _ in range(clients)]
        try:
            yield answers, failures
        finally:
            over.set()
    for each in running:
        each.result()


def test_under_load_and_after_it(site):
    before, mark = site.settled(), site.shown.database.mark()
    seen = looks(site)
    with load(site) as (answers, failures):
        start = next(seen)
        while len({*answers}) < PROCESSES or (next(seen) - start)["acquires"] < LOAD:
            pass
    assert failures == []
    after = site.settled()
    assert acquired(before, after) == expected(site, answers)
    assert after["acquires"] - before["acquires"] == site.acquires * len(answers)
    statements = [each.text for each in site.shown.database.statements(mark)]
    assert sum("INSERT" in each for each in statements) == len(answers)
    assert after["opened"] - before["opened"] == site.logins(mark)
    figures = assert_all_tell_the_same(site)
    assert figures.counts() >= next(seen)
    assert figures.idle == figures.open == figures.opened - sum(figures.closed.values())


def acquired(before, after):
    """Return how often each living process has acquired meanwhile."""
    return by_process(after, "acquires") - by_process(before, "acquires")


def expected(site, answers):
    """Return how often each process had to acquire for its answers."""
    return Counter({pid: site.acquires * count for pid, count in Counter(answers).items()})


def test_after_an_order_to_drain(site):
    before = site.settled()
    assert before["open"]
    subprocess.run(
        [sys.executable, "-m", "carpool", "drain", before["name"]],
        cwd=ROOT,
        env=site.environment,
        timeout=STUCK,
        check=True,
    )
    site.settled()
    site.shown.wait_until_nobody_is_there()
    figures = assert_all_tell_the_same(site)
    drained = Counter(figures.closed) - Counter(before["closed"])
    assert (figures.open, drained) == (0, {"drained": before["open"]})


def test_a_process_that_is_killed_takes_no_counts_with_it(site):
    before = site.settled()
    former = {*by_process(before, "acquires")}
    seen = looks(site)
    with load(site) as (answers, failures):
        while {*answers} != former:
            next(seen)
        killed = answers[-1]
        os.kill(killed, signal.SIGKILL)
        at_last = next(seen)
        while len({*answers}) == PROCESSES:  # until the one that takes its place answers
            at_last = next(seen)
    after = site.settled()
    living = [pid for pid in answers if pid != killed]
    assert {*by_process(after, "acquires")} == {*living}
    assert acquired(before, after) == expected(site, living)
    least, most = len(living), len(answers) + len(failures)
    assert site.acquires * least <= after["acquires"] - before["acquires"] <= site.acquires * most
    site.shown.database.wait_for_sessions(after["open"])
    assert assert_all_tell_the_same(site).counts() >= at_last
