"""gunicorn's workers: sync, gthread, gevent; and with the site loaded before they are forked."""

import pytest

from tests.serving.promises import WebPromises
from tests.serving.server import Kind, Site, module


def gunicorn(*arguments):
    return module(
        *("gunicorn", "tests.serving.wsgi", "--bind=127.0.0.1:{port}", "--no-control-socket"),
        *("--worker-tmp-dir={folder}", "--graceful-timeout=5", *arguments),
    )


# gunicorn leaves its listening sockets and the files of its workers' heartbeats to the collector.
UNCLOSED = (
    r"Exception ignored in: "
    r"(<socket\.socket [^>]*laddr=\('127\.0\.0\.1', \d+\)>|<_io\.FileIO [^>]*>)\n"
    r"ResourceWarning: unclosed .*\n"
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
