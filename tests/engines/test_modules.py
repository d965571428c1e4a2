"""`DBAPIDriver`: a `carpool.Pool` on the plain connections of DB-API 2 modules, without Django."""

import sqlite3
import threading
import weakref
from contextlib import closing
from functools import partial

import psycopg
import pymysql
import pytest

from carpool import Options, Pool
from carpool.dbapi import DBAPIDriver
from support.databases import fresh_database
from tests.probing import eventually, report_of, start_program


def run(connection, statement):
    with closing(connection.cursor()) as cursor:
        cursor.execute(statement)
        return cursor.fetchall()


class Slotted:
    """A connection as some modules written in C have them: no weak references, no attributes."""

    __slots__ = ("_inner",)

    def __init__(self, path):
        self._inner = sqlite3.connect(path, check_same_thread=False)

    def cursor(self):
        return self._inner.cursor()

    def commit(self):
        self._inner.commit()

    def rollback(self):
        self._inner.rollback()

    def close(self):
        self._inner.close()


def connect_sqlite(path, _overrides, **more):
    return sqlite3.connect(path, check_same_thread=False, **more)


def connect_slotted(path, _overrides):
    return Slotted(path)


def connect_pymysql(params, overrides):
    return pymysql.connect(**params | overrides)


def socket_of(connection):
    return connection._sock.fileno()


@pytest.fixture(params=["sqlite3", "slotted", "pymysql"])
def place(request, tmp_path):
    """The function that connects to an empty table `note (n integer)`, and further arguments."""
    path = str(tmp_path / "db.sqlite3")
    if request.param == "pymysql":
        with fresh_database(request.getfixturevalue("mariadb")) as database:
            database.query("CREATE TABLE note (n integer)")
            yield partial(connect_pymysql, database.params), {"socket": socket_of}
        return
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE note (n integer)")
    function = {"sqlite3": connect_sqlite, "slotted": connect_slotted}[request.param]
    yield partial(function, path), {}


@pytest.fixture
def make_pool():
    made = []

    def make(place, options=None, **more):
        connect, arguments = place
        driver = DBAPIDriver(connect, key="place", name="some database", **arguments | more)
        made.append(Pool(driver, Options(**{"max_size": 1} | (options or {}))))
        return made[-1]

    yield make
    for pool in made:
        pool.close()


def test_commit_and_rollback(make_pool, place):
    pool = make_pool(place)
    with pool.connection() as connection:
        run(connection, "INSERT INTO note VALUES (1)")
    with pytest.raises(ZeroDivisionError), pool.connection() as connection:  # noqa: PT012 - the block raises
        run(connection, "INSERT INTO note VALUES (2)")
        raise ZeroDivisionError
    with pool.connection() as connection:
        assert list(run(connection, "SELECT n FROM note")) == [(1,)]
    assert pool.get_stats()["connections_num"] == 1


def test_threads(make_pool, place):
    pool = make_pool(place, {"max_size": 3, "timeout": 30})

    def work():
        for _ in range(5):
            with pool.connection() as connection:
                run(connection, "INSERT INTO note VALUES (1)")

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with pool.connection() as connection:
        assert run(connection, "SELECT count(*) FROM note")[0][0] == 30
    assert pool.get_stats()["connections_num"] <= 3


def test_a_reset_by_statements(make_pool, place):
    pool = make_pool(place, reset="CREATE TABLE IF NOT EXISTS has_been_reset (n integer)")
    with pool.connection() as connection:
        run(connection, "SELECT 1")
    with pool.connection() as connection:
        assert len(run(connection, "SELECT * FROM has_been_reset")) == 0


def test_a_reset_by_a_function(make_pool, place):
    given = []
    pool = make_pool(place, reset=given.append)
    with pool.connection() as connection:
        real = connection.real
    with pool.connection():
        assert given == [real]


def test_an_unused_lease_is_not_reset(make_pool, place):
    given = []
    pool = make_pool(place, reset=given.append)
    for _ in range(3):
        with pool.connection():
            pass
    assert given == []


def test_a_reset_that_fails_costs_the_connection(make_pool, place):
    pool = make_pool(place, reset="NO SUCH STATEMENT")
    for _ in range(2):
        with pool.connection() as connection:
            assert run(connection, "SELECT 1")[0][0] == 1
    assert eventually(lambda: pool.get_stats()["connections_num"] == 2)


def test_a_ping(make_pool, place):
    pool = make_pool(place, {"check_after": 0})
    for _ in range(3):
        with pool.connection() as connection:
            assert run(connection, "SELECT 1")[0][0] == 1
    assert pool.get_stats()["connections_num"] == 1


def test_a_ping_of_ones_own(make_pool, place):
    pool = make_pool(place, ping="SELECT * FROM nowhere")
    with pool.connection() as connection, pytest.raises(Exception, match="nowhere"):
        pool.driver.ping(connection, 1)


@pytest.fixture
def strict_place(database):
    """Where every statement begins a transaction, and the server shows it."""
    return lambda overrides: psycopg.connect(**database.params | overrides), {}


def test_a_ping_leaves_no_transaction(make_pool, strict_place, database):
    pool = make_pool(strict_place)
    with pool.connection() as connection:
        pool.driver.ping(connection, 1)
        assert [row.state for row in database.sessions()] == ["idle"]


def test_a_reset_leaves_no_transaction(make_pool, strict_place, database):
    pool = make_pool(strict_place, reset=["SELECT 7"])
    with pool.connection() as connection:
        run(connection, "SELECT 1")
    eventually(lambda: pool.snapshot().idle == 1)
    assert [(row.state, row.query) for row in database.sessions()] == [("idle", "COMMIT")]


def test_attributes_are_put_back(make_pool, tmp_path):
    path = str(tmp_path / "db.sqlite3")
    pool = make_pool((partial(connect_sqlite, path), {}))
    with pool.connection() as connection:
        connection.row_factory = sqlite3.Row
        connection.isolation_level = None
    with pool.connection() as connection:
        assert connection.row_factory is None
        assert connection.isolation_level == ""
    assert pool.get_stats()["connections_num"] == 1


def test_the_stand_in(make_pool, place):
    """It passes for the module's connection, which itself may allow neither."""
    pool = make_pool(place)
    with pool.connection() as connection:
        real = connection.real
        assert isinstance(connection, type(real))
        assert weakref.ref(connection)() is connection
        assert connection.cursor().__class__ is real.cursor().__class__
        with pytest.raises(AttributeError):
            connection.no_such_thing  # noqa: B018 - it must raise


def test_the_real_one_counts_as_used(make_pool, place):
    pool = make_pool(place)
    connection = pool.acquire()
    run(connection.real, "INSERT INTO note VALUES (1)")
    pool.release(connection)
    with pool.connection() as connection:
        assert run(connection, "SELECT count(*) FROM note")[0][0] == 0


def test_modules_that_hide_their_socket(make_pool, mariadb):
    """With `socket`, a killed session is not handed out; without, a ping alone would tell."""
    with fresh_database(mariadb) as database:
        place = (partial(connect_pymysql, database.params), {})
        for more, errors in (({"socket": socket_of}, ()), ({}, pymysql.err.OperationalError)):
            pool = make_pool(place, **more)
            pool.release(pool.acquire())
            database.kill_sessions()
            if errors:
                with pytest.raises(errors), pool.connection() as connection:
                    run(connection, "SELECT 1")
            else:
                with pool.connection() as connection:
                    assert run(connection, "SELECT 1") == ((1,),)


def test_pymysql_recipe_of_the_docs(make_pool, mariadb):
    """COM_RESET_CONNECTION is no statement: it takes a function."""

    def reset(connection):
        connection._execute_command(0x1F, b"")
        connection._read_ok_packet()

    with fresh_database(mariadb) as database:
        place = (partial(connect_pymysql, database.params), {"socket": socket_of})
        pool = make_pool(place, reset=reset)
        with pool.connection() as connection:
            run(connection, "SET @plant = 7")
            session = run(connection, "SELECT CONNECTION_ID()")
        with pool.connection() as connection:
            assert run(connection, "SELECT @plant") == ((None,),)
            assert run(connection, "SELECT CONNECTION_ID()") == session


def test_where_django_is_not_installed(tmp_path):
    text = """
import sys
sys.modules["django"] = None
import sqlite3
from carpool import Pool
from carpool.dbapi import DBAPIDriver
def connect(overrides):
    return sqlite3.connect(":memory:", check_same_thread=False)
pool = Pool(DBAPIDriver(connect, key="memory", name="memory"))
with pool.connection() as connection:
    print(connection.execute("SELECT 7").fetchone()[0])
"""
    assert report_of(start_program(tmp_path / "program.py", text, {})) == [7]


class Named:
    """A connection whose module has uses of its own for the stand-in's names."""

    session = real = "the module's"

    def close(self):
        pass


def test_names_of_the_module_s_are_not_hidden_in_silence(make_pool):
    """The stand-in's `real` and `session` are what they are; the module's are told to be behind."""
    driver = make_pool((lambda _: Named(), {})).driver
    with pytest.warns(RuntimeWarning, match=r"`connection\.real\.(session|real)`") as warned:
        connection = driver.connect({})
    assert len(warned) == 2
    assert (connection.real.session, connection.real.real) == ("the module's",) * 2
