"""`share: host`: the processes behind a server share the connections of all; the promises hold."""

import os
import signal
from dataclasses import replace

import pytest

from carpool.host import lock
from tests.probing import eventually
from tests.serving import test_celery, test_gunicorn, test_uvicorn, test_uwsgi
from tests.serving.promises import Promises, WebPromises, all_at_once, token
from tests.serving.server import Site, running

GTHREAD = test_gunicorn.kind(
    *("--workers=2", "--worker-class=gthread", "--threads=4", "--worker-connections=4"),
    at_once=4,
    max_size=3,
    processes=2,
)
GEVENT = test_gunicorn.kind(
    *("--workers=2", "--worker-class=gevent", "--worker-connections=8"),
    at_once=8,
    max_size=3,
    processes=2,
)
# The pools are so small that processes take connections away from each other. Of three, the masters
# of gunicorn, uWSGI and Celery keep the one that they used before the fork, in session mode.
SITES = {
    "gunicorn sync": ("session", lambda: test_gunicorn.KINDS["sync"]),
    "gunicorn gthread": ("transaction", lambda: GTHREAD),
    "gunicorn gevent": ("transaction", lambda: GEVENT),
    "gunicorn --preload": (
        "session",
        lambda: replace(test_gunicorn.KINDS["preload"], max_size=3),
    ),
    "uvicorn": ("transaction", lambda: test_uvicorn.KIND),
    "uWSGI": ("session", lambda: test_uwsgi.kind("forked", max_size=3)),
}
CELERY = replace(test_celery.KIND, share="host", max_size=3)


@pytest.fixture(scope="module", params=SITES.values(), ids=SITES)
def site(request, postgres):
    mode, kind = request.param
    with running(Site, replace(kind(), share="host"), mode, postgres) as site:
        yield site


class TestPromises(WebPromises):
    def test_a_broker_that_is_killed_while_nobody_asks(self, site):
        """Sessions that are idle in a worker end; a master's may be in use. Then all comes back."""
        site.answer("write", token=token())
        master = {site.process.pid} if site.kind.early else set()
        sessions = {port for port, pids in site.holders().items() if not pids & master}
        assert sessions
        os.kill(lock.holder(site.place), signal.SIGKILL)
        eventually(lambda: not sessions & set(site.holders()))
        all_at_once(site)


@pytest.fixture(scope="module")
def worker(postgres):
    with running(test_celery.Worker, CELERY, "session", postgres) as worker:
        yield worker


class TestTasks(Promises):
    """Celery's; it calls `close_pool` before and after each."""

    @pytest.fixture
    def site(self, worker):
        return worker

    def test_children_that_are_interrupted_or_killed(self, site):
        test_celery.test_a_soft_time_limit_in_the_midst_of_a_transaction(site)
        test_celery.test_a_child_that_is_killed_in_the_midst_of_a_transaction(site)
