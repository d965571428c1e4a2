"""Promise 1: nothing leaks from one user to the next on the same file."""

import sqlite3
import sys
import threading

import pytest

from carpool import StaleCursorError
from tests.probing import eventually


def rows(connection, statement):
    return connection.execute(statement).fetchall()


def outcome(connection, statement):
    """Return the rows of a statement, or what its error says."""
    try:
        return rows(connection, statement)
    except sqlite3.Error as error:
        return str(error)


def by_sql(plant, probe):
    """Pair what a statement plants with the statement that shows it."""
    return (
        lambda connection: rows(connection, plant),
        lambda connection: outcome(connection, probe),
    )


def pragma(name, value):
    return by_sql(f"PRAGMA {name} = {value}", f"PRAGMA {name}")


# Every pragma that changes a connection and can be read again, with a value that is no default.
# https://www.sqlite.org/pragma.html
PRAGMAS = {
    "analysis_limit": 123,
    "automatic_index": "OFF",
    "busy_timeout": 77,
    "cache_size": -77,
    "cache_spill": "OFF",
    "cell_size_check": "ON",
    "checkpoint_fullfsync": "ON",
    "foreign_keys": "ON",
    "fullfsync": "ON",
    "ignore_check_constraints": "ON",
    "journal_mode": "MEMORY",
    "journal_size_limit": 12345,
    "legacy_alter_table": "ON",
    "locking_mode": "EXCLUSIVE",
    "max_page_count": 4321,
    "mmap_size": 65536,
    "query_only": "ON",
    "read_uncommitted": "ON",
    "recursive_triggers": "ON",
    "reverse_unordered_selects": "ON",
    "secure_delete": "FAST",
    "synchronous": "OFF",
    "temp_store": "MEMORY",
    "threads": 3,
    "trusted_schema": "OFF",
    "wal_autocheckpoint": 77,
    "writable_schema": "ON",
}


class Total:
    def step(self, value):
        self.value = value

    inverse = step

    def value(self):
        return 1

    def finalize(self):
        return 1


def shows(connection, what):
    """Return which calls of a hook a statement makes."""
    del what[:]
    rows(connection, "SELECT number FROM note WHERE number = 4711")
    return bool(what)


def hook(name, *args, answer=None):
    """Pair the setting of a hook with a look at whether it is called."""
    called = []

    def call(*_args):
        called.append(True)
        return answer

    return (
        lambda connection: getattr(connection, name)(call, *args),
        lambda connection: shows(connection, called),
    )


def attribute(name, value):
    return (
        lambda connection: setattr(connection, name, value),
        lambda connection: repr(getattr(connection, name)),
    )


SELECT = "SELECT 1"
LEAKS = {
    **{f"PRAGMA {name}": pragma(name, value) for name, value in PRAGMAS.items()},
    "PRAGMA as a call": by_sql("PRAGMA cache_size(-77)", "PRAGMA cache_size"),
    "PRAGMA of a schema": by_sql("PRAGMA main.cache_size=-77", "PRAGMA cache_size"),
    "PRAGMA behind a comment": by_sql("/* x */ pragma/**/cache_size=-77", "PRAGMA cache_size"),
    "EXPLAIN PRAGMA": by_sql("EXPLAIN PRAGMA foreign_keys = ON", "PRAGMA foreign_keys"),
    "case_sensitive_like": by_sql("PRAGMA case_sensitive_like = ON", "SELECT 'a' LIKE 'A'"),
    "ATTACH": by_sql("ATTACH ':memory:' AS other", "SELECT name FROM pragma_database_list"),
    "temporary table": by_sql("CREATE TEMP TABLE t AS SELECT 1", "SELECT * FROM temp.t"),
    "temporary view": by_sql("CREATE TEMPORARY VIEW v AS SELECT 1", "SELECT * FROM temp.v"),
    "table in temp": by_sql("CREATE TABLE temp.t (a int)", "SELECT * FROM temp.t"),
    "temporary trigger": by_sql(
        "CREATE TEMP TRIGGER x AFTER INSERT ON note BEGIN SELECT 1; END",
        "SELECT count(*) FROM temp.sqlite_master",
    ),
    "script": (
        lambda connection: connection.executescript("SELECT 1; PRAGMA cache_size = -77"),
        lambda connection: rows(connection, "PRAGMA cache_size"),
    ),
    "script of a cursor": (
        lambda connection: connection.cursor().executescript("PRAGMA cache_size = -77"),
        lambda connection: rows(connection, "PRAGMA cache_size"),
    ),
    "cursor of the bare class": (
        lambda connection: sqlite3.Cursor(connection).execute("PRAGMA cache_size = -77"),
        lambda connection: rows(connection, "PRAGMA cache_size"),
    ),
    "function": (
        lambda connection: connection.create_function("mine", 0, lambda: 1),
        lambda connection: outcome(connection, "SELECT mine()"),
    ),
    "function of SQLite's replaced": (
        lambda connection: connection.create_function("upper", 1, lambda _: "mine"),
        lambda connection: outcome(connection, "SELECT upper('x')"),
    ),
    "aggregate": (
        lambda connection: connection.create_aggregate("mine", 1, Total),
        lambda connection: outcome(connection, "SELECT mine(1)"),
    ),
    "window function": (
        lambda connection: connection.create_window_function("mine", 1, Total),
        lambda connection: outcome(connection, "SELECT mine(1) OVER ()"),
    ),
    "collation": (
        lambda connection: connection.create_collation("mine", lambda _a, _b: 0),
        lambda connection: outcome(connection, "SELECT 'a' = 'b' COLLATE mine"),
    ),
    "authorizer": hook("set_authorizer", answer=sqlite3.SQLITE_OK),
    "trace callback": hook("set_trace_callback"),
    "progress handler": hook("set_progress_handler", 1, answer=0),
    "limit": (
        lambda connection: connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, 1000),
        lambda connection: connection.getlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH),
    ),
    "row_factory": attribute("row_factory", sqlite3.Row),
    "text_factory": attribute("text_factory", bytes),
    "isolation_level": attribute("isolation_level", "IMMEDIATE"),
}
if hasattr(sqlite3.Connection, "deserialize"):
    LEAKS["deserialize"] = (
        lambda connection: connection.deserialize(connection.serialize()),
        lambda connection: rows(connection, "SELECT file FROM pragma_database_list"),
    )
if hasattr(sqlite3.Connection, "enable_load_extension"):
    LEAKS["load_extension"] = (
        lambda connection: connection.enable_load_extension(True),
        lambda connection: outcome(connection, "SELECT load_extension('/nowhere')"),
    )
if sys.version_info >= (3, 12):
    LEAKS["autocommit"] = attribute("autocommit", True)
    LEAKS["setconfig"] = (
        lambda connection: connection.setconfig(sqlite3.SQLITE_DBCONFIG_DEFENSIVE, True),
        lambda connection: connection.getconfig(sqlite3.SQLITE_DBCONFIG_DEFENSIVE),
    )
leaks = pytest.mark.parametrize(("plant", "probe"), LEAKS.values(), ids=LEAKS)


@leaks
def test_the_next_user_finds_none_of_it(make_pool, plant, probe):
    pool = make_pool({"max_size": 1})
    with pool.connection() as connection:
        before = probe(connection)
    with pool.connection() as connection:
        plant(connection)
    with pool.connection() as connection:
        assert probe(connection) == before


@leaks
def test_on_a_connection_kept_open_there_is_something_to_find(plain, plant, probe):
    before = probe(plain)
    plant(plain)
    assert probe(plain) != before


def test_the_same_text_again_is_noticed_again(make_pool):
    """sqlite3 keeps compiled statements, those of the set-up included."""
    on, off = "PRAGMA foreign_keys = ON", "PRAGMA foreign_keys = OFF"

    def set_up(connection):
        connection.execute(on)
        connection.execute(off)

    pool = make_pool({"max_size": 1, "configure": set_up})
    for _ in range(2):
        with pool.connection() as connection:
            assert rows(connection, "PRAGMA foreign_keys") == [(0,)]
            connection.execute(on)


def test_an_open_transaction_is_rolled_back_at_once(make_pool, file):
    pool = make_pool()
    connection = pool.acquire()
    connection.execute("BEGIN")
    connection.execute("INSERT INTO note VALUES (1)")
    assert file.refusal() == "database is locked"
    opened = file.descriptors()
    pool.release(connection)
    assert file.refusal() == ""
    assert file.query("SELECT * FROM note") == []
    assert pool.acquire() is connection
    assert file.descriptors() == opened
    assert not connection.in_transaction


def test_so_is_one_in_a_session_that_is_not_kept(make_pool, file, monkeypatch):
    """Nobody has to wait for the worker that closes it."""
    pool, closing = make_pool(), threading.Event()
    close = pool.driver.close
    monkeypatch.setattr(pool.driver, "close", lambda *args: closing.wait(30) and close(*args))
    connection = pool.acquire()
    connection.execute("PRAGMA cache_size = -77")
    connection.execute("BEGIN EXCLUSIVE")
    pool.release(connection)
    try:
        assert file.refusal() == ""
    finally:
        closing.set()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the attribute is new in Python 3.12")
def test_so_is_one_of_a_connection_whose_rollback_does_nothing(make_pool, file):
    pool = make_pool()
    connection = pool.acquire()
    connection.autocommit = True
    connection.execute("BEGIN EXCLUSIVE")
    pool.release(connection)
    assert file.refusal() == ""
    assert pool.acquire() is connection
    assert connection.autocommit == sqlite3.LEGACY_TRANSACTION_CONTROL


def test_a_changed_isolation_level_commits_nothing(make_pool, file):
    """To set it to None commits: it must be put back after the rollback."""
    pool = make_pool()
    connection = pool.acquire()
    connection.isolation_level = "DEFERRED"
    connection.execute("INSERT INTO note VALUES (1)")
    pool.release(connection)
    assert file.query("SELECT * FROM note") == []
    assert pool.acquire().isolation_level is None


def fill(file):
    file.query(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) "
        "INSERT INTO note SELECT i FROM n"
    )


FETCHES = {
    "fetchone": lambda cursor: cursor.fetchone(),
    "fetchmany": lambda cursor: cursor.fetchmany(2),
    "fetchall": lambda cursor: cursor.fetchall(),
    "next": next,
    "execute": lambda cursor: cursor.execute(SELECT),
    "executemany": lambda cursor: cursor.executemany("INSERT INTO note VALUES (?)", [(1,)]),
    "executescript": lambda cursor: cursor.executescript(SELECT),
}


class OwnCursor(sqlite3.Cursor):
    pass


@pytest.mark.parametrize("make", [lambda c: c.cursor(), lambda c: c.cursor(OwnCursor)])
@pytest.mark.parametrize("use", FETCHES.values(), ids=FETCHES)
def test_a_cursor_of_an_earlier_lease_is_refused(make_pool, file, use, make):
    fill(file)
    pool = make_pool()
    connection = pool.acquire()
    cursor = make(connection)
    cursor.execute("SELECT number FROM note")
    assert cursor.fetchone() == (1,)
    pool.release(connection)
    with pool.connection() as again:
        assert again is connection
        with pytest.raises(StaleCursorError, match="given back"):
            use(cursor)
    cursor.close()


def test_an_unfinished_query_holds_nobody_up(make_pool, file):
    fill(file)
    pool = make_pool()
    connection = pool.acquire()
    cursor = connection.execute("SELECT number FROM note")
    assert cursor.fetchone() == (1,)
    assert file.locks()
    assert file.refusal() == "database is locked"
    pool.release(connection)
    assert file.locks() == []
    assert file.refusal() == ""


def test_nor_does_an_open_blob(make_pool, file):
    file.query("CREATE TABLE pic (data blob)")
    file.query("INSERT INTO pic VALUES (x'0102')")
    pool = make_pool()
    connection = pool.acquire()
    blob = connection.blobopen("pic", "data", 1)
    assert file.refusal() == "database is locked"
    pool.release(connection)
    assert file.refusal() == ""
    with pytest.raises(sqlite3.ProgrammingError, match="closed blob"):
        blob.read()


def test_an_unfinished_query_keeps_no_snapshot_of_a_wal(make_pool, file, plain):
    """A read that goes on would keep others from starting the WAL file over."""
    plain.execute("PRAGMA journal_mode = WAL")
    fill(file)
    pool = make_pool()
    connection = pool.acquire()
    cursor = connection.execute("SELECT number FROM note")
    cursor.fetchone()
    plain.execute("INSERT INTO note VALUES (0)")
    ((busy, *_),) = plain.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    assert busy
    pool.release(connection)
    ((busy, *_),) = plain.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    assert not busy


def test_a_connection_of_a_thread_that_goes_on_is_not_lent_out(make_pool, file):
    """Who gives back while another thread still computes gets that one interrupted."""
    file.query("PRAGMA journal_mode = WAL")
    pool = make_pool({"max_size": 1})
    connection = pool.acquire()
    connection.execute("INSERT INTO note VALUES (1)")
    begun, errors = threading.Event(), []
    connection.create_function("begun", 0, begun.set)

    def endless():
        try:
            connection.execute(
                "WITH RECURSIVE n(i) AS (SELECT begun() UNION ALL SELECT 1 FROM n) "
                "SELECT count(*) FROM n"
            )
        except sqlite3.OperationalError as error:
            errors.append(str(error))

    thread = threading.Thread(target=endless)
    thread.start()
    assert begun.wait(30)
    pool.release(connection)
    thread.join()
    assert errors == ["interrupted"]
    eventually(lambda: not file.descriptors())
    left = [each.name for each in file.path.parent.glob("shop.db*")]
    assert left == ["shop.db"]  # the last to close has made its checkpoint all the same
    with pool.connection() as other:
        assert other is not connection


def test_what_is_closed_is_replaced(make_pool, file):
    pool = make_pool({"max_size": 1})
    connection = pool.acquire()
    connection.close()
    pool.release(connection)
    with pool.connection() as other:
        assert rows(other, SELECT) == [(1,)]
    eventually(lambda: len(file.descriptors()) == 1)


def test_what_users_put_on_the_object_goes(make_pool):
    pool = make_pool()
    with pool.connection() as connection:
        connection.mine = 1
    with pool.connection() as again:
        assert again is connection
        assert not hasattr(again, "mine")
