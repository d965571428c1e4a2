"""Promise 1: nothing leaks from one user to the next on the same server connection."""

import MySQLdb
import pymysql
import pytest

from carpool import StaleCursorError
from carpool.mysql.driver import MysqlclientDriver
from tests.mysql.conftest import every_way
from tests.mysql.probing import id_of
from tests.probing import run, value

PREPARED = (
    "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS "
    "WHERE VARIABLE_NAME = 'Prepared_stmt_count'"
)
# What one user leaves behind, and the query by which the next one would notice.
LEAKS = {
    "user variable": ("SET @mine = 77", "SELECT @mine"),
    "user variable in a query": ("SELECT @mine := 77", "SELECT @mine"),
    "sql_mode": ("SET sql_mode = 'ANSI_QUOTES'", "SELECT @@sql_mode"),
    "session variable": ("SET SESSION max_join_size = 77", "SELECT @@max_join_size"),
    "variable that Django sets": ("SET sql_auto_is_null = 1", "SELECT @@sql_auto_is_null"),
    "checks off": ("SET foreign_key_checks = 0", "SELECT @@foreign_key_checks"),
    "time zone": ("SET time_zone = '+05:00'", "SELECT @@time_zone"),
    "clock": ("SET timestamp = 77", "SELECT @@timestamp = 77"),
    "character set": ("SET NAMES latin1", "SELECT @@character_set_client"),
    "results' character set": (
        "SET character_set_results = 'latin1'",
        "SELECT @@character_set_results",
    ),
    "collation": ("SET NAMES utf8mb4 COLLATE utf8mb4_bin", "SELECT @@collation_connection"),
    "autocommit": ("SET autocommit = 0", "SELECT @@autocommit"),
    "isolation": (
        "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "SELECT @@tx_isolation",
    ),
    "read only": ("SET SESSION TRANSACTION READ ONLY", "SELECT @@tx_read_only"),
    "role": ("SET ROLE reader", "SELECT CURRENT_ROLE()"),
    "database": ("USE mysql", "SELECT DATABASE()"),
    "lock": ("SELECT GET_LOCK('mine', 0)", "SELECT IS_USED_LOCK('mine') = CONNECTION_ID()"),
    "temporary table": (
        "CREATE TEMPORARY TABLE mine SELECT 1 AS n UNION SELECT 2",
        "SELECT count(*) FROM mine",
    ),
    "prepared statement": ("PREPARE mine FROM 'SELECT 1'", PREPARED),
    "last insert id": ("SELECT LAST_INSERT_ID(77)", "SELECT LAST_INSERT_ID()"),
    "function": ("SELECT spoil()", "SELECT @mine"),
    "procedure": ("CALL spoiling()", "SELECT @mine"),
    "block": ("BEGIN NOT ATOMIC SET @mine = 77; END", "SELECT @mine"),
    "EXECUTE IMMEDIATE": ("EXECUTE IMMEDIATE 'SET @mine = 77'", "SELECT @mine"),
}
leaks = pytest.mark.parametrize(("plant", "probe"), LEAKS.values(), ids=LEAKS)
INDELIBLE = ("SET ROLE", "EXECUTE")  # what no reset of MariaDB's undoes, or may hide such a thing
THINGS = [
    "CREATE TABLE mine SELECT 1 AS n",
    "CREATE TABLE unique_mine (n int UNIQUE)",
    "CREATE FUNCTION spoil() RETURNS int NO SQL RETURN (@mine := 77)",
    "CREATE PROCEDURE spoiling() SET @mine = 77",
    "CREATE ROLE IF NOT EXISTS reader",
    "GRANT reader TO root@localhost, root@127.0.0.1",
]


@pytest.fixture
def things(database):
    """What some of the leaks are planted with."""
    for statement in THINGS:
        database.query(statement)


def probe_of_both(pool, plant, probe, *, may_reconnect=False):
    """Return what a probe shows before anything was planted, and to the user after the planter."""
    with pool.connection() as connection:
        number, before = id_of(connection), value(connection, probe)
        connection.session.effect = "probe"  # so that the next lease begins without a trace
    with pool.connection() as connection:
        assert id_of(connection) == number
        plant(connection)
    with pool.connection() as connection:
        same = id_of(connection) == number
        after = value(connection, probe)
    assert same or may_reconnect, "another server connection shows nothing"
    return before, after


@every_way
@leaks
def test_the_next_user_finds_none_of_it(make_pool, things, plant, probe):
    before, after = probe_of_both(
        make_pool(),
        lambda connection: run(connection, plant),
        probe,
        may_reconnect=plant.startswith(INDELIBLE),
    )
    assert after == before


@leaks
def test_without_a_reset_the_next_user_would(make_pool, things, plant, probe):
    """The probes are able to see a leak; and `reset: None` does what it says."""
    pool = make_pool({"reset": None, "max_size": 1})
    with pool.connection() as connection:
        before = value(connection, probe)
        run(connection, plant)
        if not connection.get_autocommit():
            connection.rollback()
    with pool.connection() as connection:
        assert value(connection, probe) != before


# The same leak, planted in every way that the modules have.
SET = "SET @mine = 77"


def by_cursor_of(cursorclass):
    return lambda connection: connection.cursor(cursorclass).execute(SET)


def by_a_cursor_of_its_own(connection):
    module = MySQLdb if isinstance(connection, MySQLdb.connections.Connection) else pymysql
    module.cursors.Cursor(connection).execute(SET)


class OwnCursor(MySQLdb.cursors.DictCursor):
    def _query(self, query):
        return super()._query(SET.encode())


class OwnPyMySQLCursor(pymysql.cursors.DictCursor):
    def _query(self, query):
        return super()._query(SET)


def by_users_cursor(connection):
    mysqlclient = isinstance(connection, MySQLdb.connections.Connection)
    cursor = connection.cursor(OwnCursor if mysqlclient else OwnPyMySQLCursor)
    cursor.execute("SELECT 1")  # of which it makes something else


def by_changed_cursorclass(connection):
    mysqlclient = isinstance(connection, MySQLdb.connections.Connection)
    connection.cursorclass = (MySQLdb if mysqlclient else pymysql).cursors.DictCursor
    connection.cursor().execute(SET)


class PreparingCursor(MySQLdb.cursors.Cursor):
    def executemany(self, query, args):
        self.execute(SET)
        return super().executemany(query, args)


class PreparingPyMySQLCursor(pymysql.cursors.Cursor):
    def executemany(self, query, args):
        self.execute(SET)
        return super().executemany(query, args)


class AppendingCursor(MySQLdb.cursors.Cursor):
    def executemany(self, query, args):
        return super().executemany(query + APPENDED, args)


class AppendingPyMySQLCursor(pymysql.cursors.Cursor):
    def executemany(self, query, args):
        return super().executemany(query + APPENDED, args)


APPENDED = " ON DUPLICATE KEY UPDATE n = (@mine := 77)"
INSERT = "INSERT INTO unique_mine VALUES (%s)"


def by_users_executemany(connection):
    mysqlclient = isinstance(connection, MySQLdb.connections.Connection)
    cursor = connection.cursor(PreparingCursor if mysqlclient else PreparingPyMySQLCursor)
    cursor.executemany("INSERT INTO mine VALUES (%s)", [[1], [2]])


def by_users_text(connection):
    mysqlclient = isinstance(connection, MySQLdb.connections.Connection)
    cursor = connection.cursor(AppendingCursor if mysqlclient else AppendingPyMySQLCursor)
    cursor.executemany(INSERT, [[1], [1]])


def by_rows(statement, way="execute"):
    """Plant it in the midst of executemany, by the rows and with the same cursor."""

    def plant(connection):
        cursor = connection.cursor()

        def rows():
            yield (1,)
            getattr(cursor, way)(statement, *([[()]] if way == "executemany" else []))
            yield (2,)

        cursor.executemany("INSERT INTO mine VALUES (%s)", rows())

    return plant


def after_a_failed_interpolation(connection):
    with connection.cursor() as cursor:
        with pytest.raises((MySQLdb.ProgrammingError, pymysql.ProgrammingError)):
            cursor.execute(SET + "%s%s", [1])
        connection.query(SET)


WAYS = {
    "execute": lambda c: c.cursor().execute(SET),
    "execute with values": lambda c: c.cursor().execute("SET @mine = %s", [77]),
    "execute with names": lambda c: c.cursor().execute("SET @mine = %(n)s", {"n": 77}),
    "executemany": lambda c: c.cursor().executemany("SET @mine = %s", [[66], [77]]),
    "executemany of INSERT": lambda c: c.cursor().executemany(
        "INSERT INTO mine VALUES (%s + (@mine := 77))", [[1], [2]]
    ),
    "callproc": lambda c: c.cursor().callproc("spoiling"),
    "callproc with values": lambda c: c.cursor().callproc("taking", [77]),
    "connection.query": lambda c: c.query(SET),
    "connection.query of bytes": lambda c: c.query(SET.encode()),
    "a cursor of the module's class": by_a_cursor_of_its_own,
    "a cursor class of the user's": by_users_cursor,
    "another cursorclass": by_changed_cursorclass,
    "executemany of a class of the user's": by_users_executemany,
    "executemany of another text": by_users_text,
    "the rows of executemany": by_rows(SET),
    "the rows' own executemany": by_rows(SET, "executemany"),
    "after a failed interpolation": after_a_failed_interpolation,
}
ONLY_MYSQLCLIENT = {
    "bytes": lambda c: c.cursor().execute(SET.encode()),
    "bytes in the rows of executemany": by_rows(SET.encode()),
    "several statements": lambda c: run(c, "SELECT 1; " + SET),
    "send_query": lambda c: (c.send_query(SET.encode()), c.read_query_result()),
    "SSCursor": by_cursor_of(MySQLdb.cursors.SSCursor),
}


ALL_WAYS = {**WAYS, **ONLY_MYSQLCLIENT}


@pytest.fixture
def plant(request, driver_class, database, things):
    """A function that plants the leak on a connection, where the module offers this way to."""
    if request.param in ONLY_MYSQLCLIENT and driver_class is not MysqlclientDriver:
        return WAYS["execute"]
    database.query("CREATE PROCEDURE taking(n int) SET @mine = n")
    return ALL_WAYS[request.param]


every_way_to_plant = pytest.mark.parametrize("plant", ALL_WAYS, indirect=True)


@every_way_to_plant
def test_however_it_was_planted(make_pool, plant):
    pool = make_pool({"max_size": 1})
    connection = pool.acquire()
    plant(connection)
    pool.release(connection)
    with pool.connection() as connection:
        assert value(connection, "SELECT @mine") is None


MANY = [
    "INSERT INTO mine VALUES (%s)",
    " INSERT INTO mine (n) VALUES (%s) ; ",
    "INSERT INTO unique_mine VALUES (%s) ON DUPLICATE KEY UPDATE n = n + 1000000",
    "UPDATE mine SET n = %s",
]


@pytest.mark.parametrize("fallback", [None, "multi"])
@pytest.mark.parametrize("query", MANY)
def test_many_rows_leave_no_trace(make_pool, things, query, fallback):
    with make_pool().connection() as connection, connection.cursor() as cursor:
        cursor.executemany_fallback = fallback  # mysqlclient's; the other has no such thing
        cursor.executemany(
            query, [[number] for number in range(20_000 if "INSERT" in query else 300)]
        )
        assert connection.session.effect is None


@every_way_to_plant
def test_every_way_plants_something(make_pool, plant):
    connection = make_pool().acquire()
    plant(connection)
    with connection.cursor(connection.session.cursorclass) as cursor:
        cursor.execute("SELECT @mine")
        assert cursor.fetchone() == (77,)


def test_a_text_that_was_noticed_is_noticed_again(make_pool, driver_class):
    """Though the very same object has been sent by a cursor in an earlier lease."""
    pool = make_pool({"max_size": 1})
    text = SET.encode() if driver_class is MysqlclientDriver else SET
    with pool.connection() as connection:
        connection.cursor().execute(text)
    with pool.connection() as connection:
        connection.query(text)
    with pool.connection() as connection:
        assert value(connection, "SELECT @mine") is None


@pytest.mark.parametrize("plant", ["execute", "executemany", "callproc", "connection.query"])
@every_way
def test_a_leak_and_an_open_transaction(make_pool, database, things, plant):
    pool = make_pool({"max_size": 1}, autocommit=False)
    connection = pool.acquire()
    run(connection, "INSERT INTO mine VALUES (2)")
    WAYS[plant](connection)
    pool.release(connection)
    with pool.connection() as connection:
        assert run(connection, "SELECT n, @mine, @@autocommit FROM mine") in (
            ((1, None, 0),),
            [(1, None, 0)],
        )


def other_user(connection):
    connection.change_user("support-admin", "", "mysql")


def with_reconnect(connection):
    connection.ping(True)


def without_several_statements(connection):
    connection.set_server_option(1)


@pytest.mark.parametrize("driver_class", ["mysqlclient"], indirect=True)
@pytest.mark.filterwarnings("ignore:The reconnect parameter:DeprecationWarning")
@pytest.mark.parametrize("change", [other_user, with_reconnect, without_several_statements])
def test_what_no_reset_undoes_costs_the_connection(make_pool, database, change):
    pool = make_pool({"max_size": 1})
    with pool.connection() as connection:
        number = id_of(connection)
        change(connection)
    with pool.connection() as connection:
        assert id_of(connection) != number
        user = value(connection, "SELECT CURRENT_USER()")
    assert user.startswith("root@")


# Cursors that outlive their lease -----------------------------------------------------------------

USES = {
    "execute": lambda cursor: cursor.execute("SELECT 'mine'"),
    "executemany": lambda cursor: cursor.executemany("SELECT %s", [["mine"]]),
    "callproc": lambda cursor: cursor.callproc("spoiling"),
    "nextset": lambda cursor: cursor.nextset(),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_a_kept_cursor_is_refused(make_pool, database, use):
    pool = make_pool({"max_size": 1})
    with pool.connection() as connection:
        kept = connection.cursor()
        kept.execute("SELECT 1")
    with pool.connection() as again:
        assert again is connection
        mark = database.mark()
        with pytest.raises(StaleCursorError):
            use(kept)
        assert database.statements(mark) == []


@pytest.mark.parametrize("cursorclass", ["Cursor", "SSCursor"])
def test_to_close_a_kept_cursor_takes_nothing_from_the_next_user(
    make_pool, driver_class, cursorclass
):
    module = MySQLdb if driver_class is MysqlclientDriver else pymysql
    flag = module.constants.CLIENT.MULTI_STATEMENTS
    pool = make_pool({"max_size": 1}, client_flag=flag)
    with pool.connection() as connection:
        number = id_of(connection)
        kept = connection.cursor(getattr(module.cursors, cursorclass))
        kept.execute("SELECT 1")
        kept.fetchall()
    with pool.connection() as again:
        assert id_of(again) == number
        cursor = again.cursor()
        cursor.execute("SELECT 2; SELECT 3")
        kept.close()
        assert cursor.fetchone() == (2,)
        assert cursor.nextset()
        assert cursor.fetchone() == (3,)
        cursor.close()
