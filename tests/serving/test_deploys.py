"""Deploys under load, where the host shares connections: no request fails, nobody logs in anew."""

import http.client
import os
import signal
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from threading import Event, Thread

import psutil
import pytest

from carpool.host import lock
from tests.host.brokers import own_place
from tests.probing import ROOT, STUCK, eventually
from tests.serving.promises import all_at_once, token
from tests.serving.server import Site
from tests.serving.shared import quit_broker
from tests.serving.shown import shown_database
from tests.serving.test_gunicorn import kind

GUNICORN = kind("--workers=4", at_once=1, max_size=3, processes=4, share="host")
SESSION_ID = {"postgres": "SELECT pg_backend_pid()", "mariadb": "SELECT CONNECTION_ID()"}


class Load:
    """Clients that ask without a pause; `counts` tells what became of their requests."""

    def __init__(self, clients=4):
        self.site, self.counts, self.served = None, Counter(), []
        self._over = Event()
        self._clients = [Thread(target=self._ask) for _ in range(clients)]

    @contextmanager
    def on(self, site):
        """Ask a site, and another when `site` changes, until the end of the block or `stop`."""
        self.site = site
        for each in self._clients:
            each.start()
        try:
            self.wait_for_answers(20)
            yield self
        finally:
            self.stop()

    def stop(self):
        self._over.set()
        for each in self._clients:
            each.join()

    def _ask(self):
        while not self._over.is_set():
            wanted = f"load {token()}"
            try:
                status, _ = self.site.ask("write", token=wanted)
            except (OSError, http.client.HTTPException):
                status = "cut off"
                self._over.wait(0.01)  # there may be nobody yet who listens
            self.counts[status] += 1
            if status == 200:
                self.served.append(wanted)

    def wait_for_answers(self, count):
        """Wait until so many more have been served."""
        before = len(self.served)
        eventually(lambda: len(self.served) >= before + count, STUCK)


class Release(Site):
    """A site whose sessions outlive it: another follows."""

    def wait_until_nobody_is_there(self):
        pass

    def workers(self):
        return {each.pid for each in psutil.Process(self.process.pid).children()}

    def wait_for_workers(self, former):
        """Wait until all workers are others."""
        count = self.kind.processes
        self.wait_until(
            lambda: len(self.workers()) == count and not self.workers() & former,
            "replace its workers",
        )


class Deployment:
    """One site after the other, on one database, with one broker."""

    def __init__(self, shown, mode, place, session_id):
        self.shown, self.place, self.session_id = shown, place, session_id
        self._mode, self._mark = mode, 0

    @contextmanager
    def release(self):
        site = Release(GUNICORN, self.shown, self._mode, self.place)
        try:
            site.wait_until_ready()
            yield site
        finally:
            if site.folder.exists():  # the test has not stopped it
                site.stop()

    @contextmanager
    def warm_release(self):
        """The first, with all sessions that there may be."""
        with self.release() as site:
            all_at_once(site)
            assert len(self.ids()) == GUNICORN.max_size
            self._mark = self.shown.database.mark()
            yield site

    def logins(self):
        """Count the logins since then."""
        return self.shown.database.connections(self._mark, user=self.shown.user)

    def ids(self):
        return {each.pid for each in self.shown.database.sessions(user=self.shown.user)}


@pytest.fixture(params=[("postgres", "transaction"), ("mariadb", "session")], ids="-".join)
def deployment(request):
    server, mode = request.param
    # One more on MariaDB, as it knows no other way to cancel than to log in once more.
    limit = GUNICORN.limit + (server == "mariadb")
    with own_place() as place, shown_database(request.getfixturevalue(server), limit) as shown:
        yield Deployment(shown, mode, place, SESSION_ID[server])
        quit_broker(place)
        shown.wait_until_nobody_is_there()


def test_a_reload(deployment):
    with deployment.warm_release() as site, Load().on(site) as load:
        former = site.workers()
        site.process.send_signal(signal.SIGHUP)
        site.wait_for_workers(former)
        load.wait_for_answers(40)
    assert set(load.counts) == {200}
    assert deployment.logins() == 0


def test_a_stop_and_a_start(deployment):
    """Some find nobody who listens in between; whoever is let in is served."""
    with deployment.warm_release() as first, Load().on(first) as load:
        first.stop()
        with deployment.release() as load.site:
            load.wait_for_answers(40)
            load.stop()
    assert set(load.counts) <= {200, "cut off"}
    assert sorted(load.served) == deployment.shown.tokens("load")
    assert deployment.logins() == 0


def test_workers_that_are_killed_while_idle(deployment):
    with deployment.warm_release() as site:
        former = site.workers()
        for pid in former:
            os.kill(pid, signal.SIGKILL)
        site.wait_for_workers(former)
        all_at_once(site)
    assert deployment.logins() == 0


def test_a_worker_that_is_killed_under_load(deployment):
    """It takes at most the request that it was at with it, and the session of that."""
    with deployment.warm_release() as site, Load().on(site) as load:
        before, former = deployment.ids(), site.workers()
        os.kill(min(former), signal.SIGKILL)
        site.wait_for_workers({min(former)})
        load.wait_for_answers(40)
        assert len(before - deployment.ids()) <= 1
    assert set(load.counts) <= {200, "cut off"}
    assert load.counts["cut off"] <= 1
    assert deployment.logins() <= 1


def test_a_broker_that_is_killed(deployment):
    with deployment.warm_release() as site, Load().on(site) as load:
        former, before = lock.holder(deployment.place), deployment.ids()
        os.kill(former, signal.SIGKILL)
        eventually(lambda: lock.holder(deployment.place) not in (None, former))
        eventually(lambda: not before & deployment.ids())
        load.wait_for_answers(40)
    assert set(load.counts) == {200}


def test_a_command_beside_a_site(deployment):
    text = (
        "from django.db import connection; cursor = connection.cursor();"
        f" cursor.execute({deployment.session_id!r}); print(cursor.fetchone()[0])"
    )
    with deployment.warm_release() as site, Load().on(site) as load:
        before = deployment.ids()
        told = subprocess.run(
            [sys.executable, "-W", "error", "-m", "django", "shell", "-v0", "-c", text],
            cwd=ROOT,
            env=site.environment,
            capture_output=True,
            text=True,
            timeout=STUCK,
            check=False,
        )
        assert (told.returncode, told.stderr) == (0, "")
        assert int(told.stdout) in before
    assert set(load.counts) == {200}
    assert deployment.logins() == 0
