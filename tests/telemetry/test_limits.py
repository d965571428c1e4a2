"""What the servers say of sessions: compared with sessions that the test opens by itself."""

import contextlib
import sqlite3
from unittest.mock import Mock, patch

import psycopg
import pymysql
import pytest

from carpool import Options
from carpool.dbapi import DBAPIDriver
from carpool.mysql import limits as mysql_limits
from carpool.mysql.driver import MysqlclientDriver
from carpool.mysql.pymysql import PyMySQLDriver
from carpool.postgresql import limits as postgresql_limits
from carpool.postgresql.driver import PsycopgDriver
from carpool.postgresql.psycopg2 import Psycopg2Driver
from carpool.sqlite3.driver import SQLiteDriver
from carpool.telemetry.limits import Limits, address, asked

SECRET = "only for this test"
postgresql = pytest.mark.parametrize("driver_class", [PsycopgDriver, Psycopg2Driver])
mysql = pytest.mark.parametrize("driver_class", [MysqlclientDriver, PyMySQLDriver])


@pytest.fixture
def hold(request):
    """Open sessions by psycopg or PyMySQL with these parameters; they stay until the test ends."""

    def hold(module, params, count):
        for _ in range(count):
            connection = module.connect(**params)
            request.addfinalizer(connection.close)

    return hold


@pytest.fixture
def role(postgres, database):
    """Parameters of a user of PostgreSQL who may do nothing special."""
    postgres.create_role("plain", SECRET)
    yield database.params | {"user": "plain", "password": SECRET}
    postgres.kill_sessions(user="plain")
    postgres.query('DROP ROLE "plain"')


@postgresql
def test_postgresql_for_an_administrator(driver_class, database, role, hold):
    hold(psycopg, database.params, 3)
    hold(psycopg, role, 2)
    hold(psycopg, database.params | {"dbname": "postgres"}, 1)
    limits = driver_class(**database.params).limits()
    clients = database.server.query(
        "SELECT count(*) AS n FROM pg_stat_activity WHERE backend_type = 'client backend'"
    )[0].n
    assert limits == Limits(
        sessions=3, max_connections=200, reserved=3, in_use=clients - 1, pooler=""
    )
    assert len(database.sessions()) == 3 + 2  # it has closed its own


@postgresql
def test_postgresql_for_anybody(driver_class, database, role, hold, request):
    hold(psycopg, database.params, 2)
    hold(psycopg, role, 3)
    database.query('ALTER ROLE "plain" CONNECTION LIMIT 7')
    database.query(f'ALTER DATABASE "{database.name}" CONNECTION LIMIT 20')
    database.query("ALTER ROLE postgres CONNECTION LIMIT 50")  # superusers are free of it
    request.addfinalizer(lambda: database.query("ALTER ROLE postgres CONNECTION LIMIT -1"))
    as_superuser = driver_class(**database.params).limits()
    limits = driver_class(**role).limits()
    assert limits == Limits(3, 200, 3, 7, 20, as_superuser.in_use, "")
    assert limits.room == 7
    assert (as_superuser.role_limit, as_superuser.database_limit) == (None, None)
    assert as_superuser.room == 197


@postgresql
def test_postgresql_with_a_role_that_is_assumed(driver_class, database, role, hold):
    database.query('GRANT pg_read_all_data TO "plain"')
    hold(psycopg, role, 2)
    driver = driver_class(**role, settings={"role": "pg_read_all_data"})
    assert driver.limits().sessions == 2


@postgresql
@pytest.mark.parametrize("rows", ["dict", "autocommit"])
def test_postgresql_however_the_connection_is_made(driver_class, database, rows):
    from psycopg.rows import dict_row  # noqa: PLC0415 - one way of two
    from psycopg2.extras import RealDictCursor  # noqa: PLC0415 - the other

    more = {"autocommit": True} if rows == "autocommit" else {}
    if rows == "dict":
        modern = driver_class is PsycopgDriver
        more = {"row_factory": dict_row} if modern else {"cursor_factory": RealDictCursor}
    assert driver_class(**database.params, **more).limits().max_connections == 200


def test_a_pooler_tells_another_number_than_the_server(database):
    with psycopg.connect(**database.params) as connection, connection.cursor() as cursor:
        pid = connection.info.backend_pid
        assert postgresql_limits.ask(cursor, pid).pooler == ""
        assert postgresql_limits.ask(cursor, pid + 1).pooler == "a connection pooler"


@pytest.fixture
def account(mariadb, mariadb_database):
    """Parameters of an account of MariaDB that has but its own database, and four sessions."""
    mariadb.query(f"CREATE USER plain IDENTIFIED BY '{SECRET}' WITH MAX_USER_CONNECTIONS 4")
    mariadb.query(f"GRANT ALL ON `{mariadb_database.name}`.* TO plain")
    yield mariadb_database.params | {"user": "plain", "password": SECRET}
    mariadb.kill_sessions(user="plain")
    mariadb.query("DROP USER plain")


@mysql
def test_mariadb_for_an_administrator(driver_class, mariadb_database, account, hold):
    server = mariadb_database.server
    hold(pymysql, mariadb_database.params, 3)
    hold(pymysql, account, 2)
    hold(pymysql, mariadb_database.params | {"database": server.MAIN}, 1)
    limits = driver_class(**mariadb_database.params).limits()
    most = server.query("SELECT @@max_connections AS n")[0].n
    assert limits == Limits(sessions=3, max_connections=most, in_use=limits.in_use)
    assert limits.in_use >= 6
    assert len(mariadb_database.sessions()) == 5  # it has closed its own
    hold(pymysql, mariadb_database.params | {"database": server.MAIN}, 2)
    more = driver_class(**mariadb_database.params).limits()
    assert (more.sessions, more.in_use) == (3, limits.in_use + 2)


@mysql
def test_mariadb_for_anybody(driver_class, mariadb_database, account, hold):
    hold(pymysql, mariadb_database.params, 2)
    hold(pymysql, account, 3)
    limits = driver_class(**account).limits()
    assert (limits.sessions, limits.role_limit, limits.room) == (3, 4, 4)
    assert limits.in_use >= 5


def test_the_asking_session_is_not_counted():
    cursor = Mock()
    cursor.fetchone.side_effect = [(3, 151, 0, 5, ""), ("Threads_connected", "42")]
    assert mysql_limits.ask(cursor, 5) == Limits(3, 151, in_use=41)


@mysql
def test_mariadb_with_other_rows(driver_class, mariadb_database):
    cursors = "MySQLdb.cursors" if driver_class is MysqlclientDriver else "pymysql.cursors"
    cursor = __import__(cursors, fromlist=["SSDictCursor"]).SSDictCursor
    limits = driver_class(**mariadb_database.params, cursorclass=cursor).limits()
    assert limits.sessions == 0


@pytest.mark.parametrize(
    ("comment", "other", "pooler"),
    [("", 0, ""), ("", 1, "a connection pooler"), ("(ProxySQL)", 0, "ProxySQL")],
)
def test_a_proxy_of_mysql_tells_another_number_or_its_name(
    mariadb_database, comment, other, pooler
):
    question = mysql_limits.QUESTION.replace("@@version_comment", f"'{comment}'")
    with (
        patch.object(mysql_limits, "QUESTION", question if comment else mysql_limits.QUESTION),
        contextlib.closing(pymysql.connect(**mariadb_database.params)) as connection,
        connection.cursor() as cursor,
    ):
        assert mysql_limits.ask(cursor, connection.thread_id() + other).pooler == pooler


def test_a_password_that_is_asked_for(database, role):
    driver = PsycopgDriver(**{**role, "password": "out of date"})
    assert asked(driver, Options(credentials=lambda: SECRET)).sessions == 0
    assert asked(driver, Options(credentials=lambda: {"password": SECRET})).sessions == 0
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        asked(driver, Options())


def test_where_there_is_no_such_thing(tmp_path):
    assert SQLiteDriver(tmp_path / "file.db").limits() is None
    generic = DBAPIDriver(lambda overrides: sqlite3.connect(":memory:"), key=1, name="any")
    assert generic.limits() is None


def test_the_answer_tells_whose_it_is(database, mariadb_database):
    for driver in (PsycopgDriver(**database.params), Psycopg2Driver(**database.params)):
        answer = asked(driver, Options())
        assert answer.login == driver.name
        assert answer.address == f"postgresql://local:{database.params['port']}"
    other = PsycopgDriver(**{**database.params, "host": "localhost", "dbname": "postgres"})
    assert asked(other, Options()).address == answer.address
    theirs = asked(PyMySQLDriver(**mariadb_database.params), Options())
    assert theirs.address != answer.address


@pytest.mark.parametrize(
    ("login", "server"),
    [
        ("postgresql://shop@db/shop", "postgresql://db"),
        ("postgresql://DB:5432/shop", "postgresql://db"),
        ("postgresql://shop@db:5433/shop", "postgresql://db:5433"),
        ("postgresql:///run/postgresql/shop", "postgresql:///run/postgresql"),
        ("mysql://me@example.org@127.0.0.1:3306/", "mysql://local"),
        ("mysql://me@local/shop", "mysql://local"),
        ("postgresql://[::1]:5432/shop", "postgresql://local"),
        ("postgresql://::1:5432/shop", "postgresql://local"),
        ("postgresql://::1/shop", "postgresql://local"),
        ("/srv/shop/db.sqlite3", ""),
    ],
)
def test_servers_are_told_apart_by_host_and_port(login, server):
    assert address(login) == server
