"""GeoDjango on the engine `carpool.postgis`, each test with a database of its own."""

import pytest

from support.databases import Database, fresh_database
from tests.django.conftest import in_thread

__all__ = ["in_thread"]
ENGINE = "carpool.postgis"


def pytest_configure(config):
    config.addinivalue_line("markers", "psycopg3: for what psycopg 2 does not have")


@pytest.fixture
def database(postgis):
    """A fresh database that has the extension and no tables."""
    with fresh_database(postgis) as database:
        yield database


@pytest.fixture
def bare_database(postgis):
    """A database that does not have the extension yet."""
    postgis.drop_database("bare")
    postgis.query("CREATE DATABASE bare TEMPLATE template0")
    yield Database(postgis, "bare")
    postgis.drop_database("bare")


@pytest.fixture
def use_in(django_databases):
    """Call it with a database to have django.db use that; returns the wrapper of `default`."""
    handler = []

    def use_in(database, pool=True, **options):
        entry = database.django(ENGINE=ENGINE, OPTIONS={"pool": pool, **options})
        handler.append(django_databases(default=entry))
        return handler[-1]["default"]

    yield use_in
    for connection in handler[-1].all(initialized_only=True) if handler else ():
        connection.close()
        connection.close_pool()


@pytest.fixture
def use(use_in, database):
    """The same for the test's own database, with the tables of the models."""
    from tests.postgis.models import create_tables  # noqa: PLC0415 - needs the settings

    def use(pool=True, **options):
        connection = use_in(database, pool, **options)
        create_tables(connection)
        connection.close()
        return connection

    return use
