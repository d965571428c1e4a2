"""`share: host` where connections cannot be shared: the first use says so, and the way out."""

import os

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db.backends.postgresql.psycopg_any import is_psycopg3
from django.db.utils import Error

from carpool.mysql.pymysql import PyMySQLDriver

HOST = {"share": "host"}
START = r"^DATABASES\['default'\]\['OPTIONS'\]\['pool'\]: 'share' is 'host', which cannot be here: "
END = r"\. 'share': 'process' is always allowed$"
WHO_CAN = r"psycopg 3 \(carpool.postgresql, carpool.postgis\) and mysqlclient \(carpool.mysql\) can"


@pytest.fixture
def refused():
    """Call it to use a connection that is to be refused for a reason, each time."""

    def refused(connection, reason):
        for _ in range(2):  # what was refused is not used without a pool the next time
            with pytest.raises(ImproperlyConfigured, match=f"{START}.*{reason}.*{END}"):
                connection.ensure_connection()
        with pytest.raises(ImproperlyConfigured, match=reason):
            connection.pool  # noqa: B018 - it raises
        assert connection.connection is None

    return refused


@pytest.fixture
def alias(django_databases):
    """Call it with an engine and OPTIONS to get the wrapper of `default` on it."""

    def alias(engine, name="shop", **options):
        entry = {"ENGINE": engine, "NAME": name, "USER": "shop"}
        entry["OPTIONS"] = {"pool": HOST, **options}
        return django_databases(default=entry)["default"]

    return alias


def test_psycopg(use, refused):
    if is_psycopg3:
        refused(use(HOST, {"prepare_threshold": 5}), "set prepare_threshold to None")
    else:
        refused(use(HOST), f"Psycopg2Driver cannot .*{WHO_CAN}")


def test_mysqlclient(alias, refused):
    refused(alias("carpool.mysql", compress=True), "compress: the state of the compression lies")


def test_pymysql(alias, refused, monkeypatch):
    monkeypatch.setattr("carpool.mysql.base.PooledDriver", PyMySQLDriver)
    refused(alias("carpool.mysql"), f"PyMySQLDriver cannot .*{WHO_CAN}")


def test_sqlite(alias, refused):
    refused(alias("carpool.sqlite3"), f"SQLiteDriver cannot .*{WHO_CAN}")


def test_sqlite_in_memory_has_no_pool_to_share(alias):
    assert alias("carpool.sqlite3", ":memory:").pool is None


def test_oracle(alias, refused):
    refused(alias("carpool.oracle"), f"OracleDriver cannot .*{WHO_CAN}")


def test_any_engine(alias, refused):
    refused(alias("tests.engines.plain_postgresql"), f"EngineDriver cannot .*{WHO_CAN}")


def test_windows(alias, refused, monkeypatch):
    monkeypatch.delattr(os, "geteuid")
    connection = alias("carpool.mysql")
    refused(connection, "this system has no Unix sockets")


@pytest.mark.psycopg3
def test_what_libpq_refuses_is_refused_again(use):
    connection = use(HOST, {"sslmode": "no such"})
    for _ in range(2):
        with pytest.raises(Error, match="sslmode"):
            connection.ensure_connection()
