"""Fixtures that all tests share, and the list of what could not be run."""

import atexit
import os
import shutil
import tempfile
from collections import Counter

import django
import pytest

from support.databases import fresh_database
from support.proxy import Proxy
from support.servers import MariaDB, MariaDBWithTLS, NotInstalled, PostGIS, PostgreSQL

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
# What the processes of a run tell is for that run, and for none of this user's other projects.
os.environ["CARPOOL_DIR"] = directory = tempfile.mkdtemp(prefix="carpool-tests-")
atexit.register(shutil.rmtree, directory, ignore_errors=True)
django.setup()


def running(server, **settings):
    """Start a server that logs every statement, for as long as a fixture lives."""
    try:
        started = server.start(**server.LOG_STATEMENTS, **settings)
    except NotInstalled as missing:
        pytest.skip(str(missing))
    with started:
        yield started


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL that logs every statement; for a test that harms it, use `own_postgres`."""
    yield from running(PostgreSQL, max_connections=200)


@pytest.fixture
def own_postgres():
    """A PostgreSQL for one test, which may restart, kill and pause it."""
    yield from running(PostgreSQL)


@pytest.fixture(scope="session")
def mariadb():
    """A MariaDB that logs every statement; for a test that harms it, use `own_mariadb`."""
    yield from running(MariaDB)


@pytest.fixture
def own_mariadb():
    """A MariaDB for one test, which may restart, kill and pause it."""
    yield from running(MariaDB)


@pytest.fixture(scope="session")
def tls_mariadb():
    """A MariaDB that speaks TLS with those who trust its certificate, `tls_mariadb.ca`."""
    yield from running(MariaDBWithTLS)


@pytest.fixture(scope="session")
def postgis():
    """A PostgreSQL whose new databases have PostGIS."""
    yield from running(PostGIS)


@pytest.fixture
def database(postgres):
    """A fresh, empty database of PostgreSQL: a support.databases.Database."""
    with fresh_database(postgres) as database:
        yield database


@pytest.fixture
def mariadb_database(mariadb):
    """A fresh, empty database of MariaDB: a support.databases.Database."""
    with fresh_database(mariadb) as database:
        yield database


@pytest.fixture
def proxy(postgres):
    """A proxy in front of `postgres`: connect to `proxy.port`."""
    with Proxy("127.0.0.1", postgres.port) as proxy:
        yield proxy


@pytest.fixture
def django_databases():
    """Call it with the entries of DATABASES that django.db shall use during one test."""
    from django.db import connections  # noqa: PLC0415 - needs the settings

    def use(**databases):
        connections.close_all()
        for alias in tuple(connections):
            if hasattr(connections._connections, alias):
                del connections[alias]
        connections.settings = connections.configure_settings(databases)
        return connections

    before = connections.settings
    use_again = {alias: dict(entry) for alias, entry in before.items()}
    yield use
    use(**use_again)


def pytest_terminal_summary(terminalreporter):
    """Name what this machine could not run, and why."""
    reasons = Counter(
        report.longrepr[2].removeprefix("Skipped: ")
        for report in terminalreporter.stats.get("skipped", ())
    )
    if reasons:
        terminalreporter.section("could not be run on this machine")
    for reason, count in reasons.items():
        terminalreporter.line(f"{count} x {reason}")
