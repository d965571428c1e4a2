"""gunicorn's workers: sync, gthread, gevent; and with the site loaded before they are forked."""

import http.client
import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.serving.promises import WebPromises, all_at_once, tokens
from tests.serving.server import Kind, Site, module


def gunicorn(*arguments):
    return module(
        *("gunicorn", "tests.serving.wsgi", "--bind=127.0.0.1:{port}", "--no-control-socket"),
        *("--worker-tmp-dir={folder}", "--graceful-timeout=5", *arguments),
    )


# gunicorn leaves its listening sockets and the files of its workers' heartbeats to the collector.
# What it says of one may stand within what another process says.
UNCLOSED = (
    r"(Exception ignored in:|ResourceWarning: unclosed( file)?) "
    r"(<socket\.socket [^>]*laddr=\('127\.0\.0\.1', \d+\)>|<_io\.FileIO [^>]*>)\n?"
)


def kind(*arguments, **more):
    return Kind(gunicorn(*arguments), **more, harmless=UNCLOSED)


KINDS = {
    "sync": kind("--workers=2", at_once=1, max_size=2, processes=2),
    "gthread": kind("--worker-class=gthread", "--threads=6", at_once=6, max_size=3),
    "preload": kind("--workers=2", "--preload", at_once=1, max_size=2, processes=2, early=True),
    "gevent, psycopg": kind("--worker-class=gevent", at_once=8, max_size=3),
    "gevent, PyMySQL": kind("--worker-class=gevent", at_once=8, max_size=3, server="mariadb"),
}


@pytest.fixture(scope="module", params=KINDS.values(), ids=KINDS)
def site(request, run_kind):
    with run_kind(Site, request.param) as site:
        yield site


class TestPromises(WebPromises):
    pass


def test_workers_that_are_killed_in_the_midst_of_transactions(site):
    """As gunicorn does with those that take longer than its `timeout`."""
    wanted = tokens(site.kind.slots)
    with ThreadPoolExecutor(len(wanted)) as clients, site.shown.closed_gate():
        asked = [clients.submit(site.ask, "write-at-gate", token=each) for each in wanted]
        site.shown.wait_at_gate(len(wanted))
        for pid in set().union(*site.holders().values()) - {site.process.pid}:
            os.kill(pid, signal.SIGKILL)
        for each in asked:
            assert isinstance(each.exception(), (OSError, http.client.HTTPException))
    site.shown.wait_until_nothing_is_open()
    all_at_once(site)
    assert not set(wanted) & set(site.shown.tokens())
